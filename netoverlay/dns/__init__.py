"""The swarm's name server: 127.0.0.11 of every container on this host, in one process."""
