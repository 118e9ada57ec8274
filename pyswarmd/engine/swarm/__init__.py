"""The swarm's nouns of the Engine API, answered by the managers."""
