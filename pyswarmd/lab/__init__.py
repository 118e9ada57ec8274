"""A lab of several hosts on one machine, in network namespaces."""
