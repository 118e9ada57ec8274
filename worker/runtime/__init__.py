"""Containers of this host: OCI bundles, conmon, crun."""
