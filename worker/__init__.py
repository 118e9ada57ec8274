"""Runs the tasks that a manager assigned to this node."""
