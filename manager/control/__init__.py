"""The control API: checks and writes specs, never acts on them."""
