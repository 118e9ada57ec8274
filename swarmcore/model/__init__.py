"""Every spec and object of the swarm, under Docker's JSON names."""
