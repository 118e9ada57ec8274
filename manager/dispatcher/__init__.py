"""The managers' side of agent sessions: assignments out, statuses in."""
