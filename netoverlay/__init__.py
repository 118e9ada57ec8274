"""The networks of the swarm on one host: what its kernel knows of them, and what their names mean."""
