"""One session with the leader: what it is told, what it asks, what it reports."""
