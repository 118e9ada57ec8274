"""Compose files to swarm specs (arrives with the stacks issue)."""
