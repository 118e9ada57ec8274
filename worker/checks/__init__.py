"""This node's part in checks of networks: probes, and who answers them."""
