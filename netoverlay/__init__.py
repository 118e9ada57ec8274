"""Networks of the swarm on this host (arrives with the network issue)."""
