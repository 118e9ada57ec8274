"""The pyswarm command: a client of the Engine API."""
