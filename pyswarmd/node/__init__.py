"""This host as a node: alone, a worker or a manager, and what it keeps about that."""
