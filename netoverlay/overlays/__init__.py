"""The overlays of the swarm on one host: bridges, VXLAN devices, who is behind which of them."""
