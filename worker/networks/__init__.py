"""Containers on networks: endpoint tables from the session, sandboxes, networks of this host."""
