"""Networks of one host alone: user-defined bridges, and containers directly on the host's wires."""
