"""Objects as the Engine API shows them: what the nouns of the swarm and those of the host answer with."""
