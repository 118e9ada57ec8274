"""Compose files to specs of the swarm; empty in this release."""
