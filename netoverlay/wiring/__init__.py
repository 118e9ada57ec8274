"""All that one host's kernel carries for the swarm, kept in step: overlays, mesh, local networks, containers."""
