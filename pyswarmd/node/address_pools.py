"""What `init` is told about overlay networks, and Docker's rules for it: address pools, size of subnets, UDP port."""

from __future__ import annotations

from manager.membership.bootstrap import check_pools
from swarmcore.errors import Invalid

__all__ = ["check_data_path_port", "check_pools"]

FIRST_PORT, LAST_PORT = 1024, 49151


def check_data_path_port(port: int) -> None:
    """0 stands for the default. Above 49151 the kernel may have lent the port to somebody else (RFC 6335)."""
    if port and not FIRST_PORT <= port <= LAST_PORT:
        raise Invalid(f"Datapath port number is not in valid range ({FIRST_PORT}-{LAST_PORT}) : {port}")
