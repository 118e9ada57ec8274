"""What several parts of a leader need to speak with agents through their sessions, whoever keeps those."""
