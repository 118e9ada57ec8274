"""The nouns of one host of the Engine API, answered by this daemon alone."""
