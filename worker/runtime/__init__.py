"""What starts and holds processes: OCI bundles, conmon, crun, cgroups, mounts, seccomp."""
