"""Moves NEW tasks to PENDING once they have the resources the cluster hands out."""
