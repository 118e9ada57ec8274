"""The swarm's certificate authority: root, node identities, join tokens, keys on disk."""
