"""Chooses a node for each PENDING task."""
