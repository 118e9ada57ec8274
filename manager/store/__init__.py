"""The swarm's objects in memory: transactions out, raft commits in, a feed of changes."""
