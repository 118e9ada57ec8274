"""Who belongs to the swarm and as what: certificates, roles, members of raft, keys of networks."""
