"""Service logs on their way from the agents to whoever reads them."""
