"""Desired state of the swarm: raft, store, and the loops that move it towards reality."""
