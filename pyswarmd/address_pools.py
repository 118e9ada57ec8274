"""What `init` is told about overlay networks, and Docker's rules for it: address pools, size of subnets, UDP port."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_network

from swarmcore.errors import Invalid

DEFAULT_SUBNET_SIZE = 24
LARGEST_SUBNET_SIZE = 30  # a /31 has no address left beside those of the network, its gateway and broadcasts
FIRST_PORT, LAST_PORT = 1024, 49151


def check_data_path_port(port: int) -> None:
    """0 stands for the default. Above 49151 the kernel may have lent the port to somebody else (RFC 6335)."""
    if port and not FIRST_PORT <= port <= LAST_PORT:
        raise Invalid(f"Datapath port number is not in valid range ({FIRST_PORT}-{LAST_PORT}) : {port}")


def check_pools(pools: Sequence[str], size: int) -> tuple[str, ...]:
    """The pools in their shortest form. `size` is the prefix length of subnets taken from them, 0: the default."""
    if not 0 <= size <= LARGEST_SUBNET_SIZE:
        raise Invalid(f"subnet size is out of range: {size}", f"use 1 to {LARGEST_SUBNET_SIZE}")
    found: list[IPv4Network] = []
    for text in pools:
        try:
            pool = ip_network(text, strict=False)
        except ValueError as error:
            raise Invalid(f"invalid base pool {text}: {error}", "write it like 10.20.0.0/16") from None
        if not isinstance(pool, IPv4Network):
            raise Invalid(f"invalid base pool {text}: it is not IPv4", "IPv6 subnets need no pool")
        if (size or DEFAULT_SUBNET_SIZE) < pool.prefixlen:
            raise Invalid(
                f'invalid CIDR: "{text}". Subnet size is too small for pool: {size or DEFAULT_SUBNET_SIZE}'
            )
        for other in found:
            if pool.overlaps(other):
                raise Invalid(f"address pools {other} and {pool} overlap")
        found.append(pool)
    return tuple(map(str, found))
