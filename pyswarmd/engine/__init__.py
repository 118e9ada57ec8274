"""The Docker Engine HTTP API of one daemon."""
