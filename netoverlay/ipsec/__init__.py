"""Encrypted overlays: IPsec ESP between the hosts of a network, with keys that the managers make and rotate."""
