"""Where networks of the swarm and those of its hosts are in each other's way. Pure.

An overlay whose subnet holds a host's address, or lies where a host has a route to, takes that traffic away from the
host. A route that is wider than the subnet says less: it is a direction (10.0.0.0/8 to the company's router), behind
which that very subnet may be unused. Such subnets are taken last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import ip_address, ip_network

from msgspec import Struct

from manager.store.tables import Tables
from swarmcore.ipam import Subnet, overlap
from swarmcore.model.network import OVERLAY, IPAMOptions, Network
from swarmcore.model.node import Node

#: Of one node; what is more is not looked at.
MOST_NETWORKS = 1024


class HostNetwork(Struct, frozen=True):
    """A network that a host is in, or (`route`) knows the way to."""

    subnet: Subnet
    route: bool = False

    def forbids(self, subnet: Subnet) -> bool:
        """Whether the swarm must not use `subnet`."""
        return not self.is_wider_than(subnet.prefixlen) and overlap(self.subnet, subnet)

    def is_wider_than(self, prefix: int) -> bool:
        """Whether it is only a direction, as subnets with this prefix length go."""
        return self.route and self.subnet.prefixlen < prefix

    def __str__(self) -> str:
        return f"route {self.subnet}" if self.route else f"network {self.subnet}"


class Clash(Struct, frozen=True):
    """`of_host` overlaps `subnet` of `network`."""

    of_host: HostNetwork
    subnet: Subnet
    network: Network

    def __str__(self) -> str:
        return f"{self.of_host} overlaps with subnet {self.subnet} of network {self.network.spec.name}"


@lru_cache(maxsize=1 << 16)
def _network(text: str) -> Subnet | None:
    """None for what is no network: an agent's mistake must not keep others from being served."""
    try:
        found = ip_network(text, strict=False)  # addresses come with their network's prefix length
    except ValueError:
        return None
    return found if found.prefixlen else None


def host_networks(node: Node) -> tuple[HostNetwork, ...]:
    """What the node told of its host, and where others reach it."""
    told = node.description
    subnets = list(told.host_subnets) if told is not None else []
    reached = (told.data_path_addr if told is not None else "", node.status.addr)
    subnets += [f"{each}/{ip_address(each).max_prefixlen}" for each in reached if _is_address(each)]
    routes = told.host_routes if told is not None else ()
    found = [HostNetwork(network) for each in subnets[:MOST_NETWORKS] if (network := _network(each))]
    found += [HostNetwork(network, True) for each in routes[:MOST_NETWORKS] if (network := _network(each))]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1 << 14)
def _is_address(text: str) -> bool:
    try:
        return not ip_address(text).is_loopback
    except ValueError:
        return False


def all_host_networks(tables: Tables) -> tuple[HostNetwork, ...]:
    return tuple(dict.fromkeys(each for node in tables.nodes for each in host_networks(node)))


def subnets(network: Network) -> tuple[Subnet, ...]:
    """Of an overlay, as the allocator chose them or as the user asks for them. Other drivers' are each host's own."""
    if network.spec.driver != OVERLAY:
        return ()
    options = network.ipam_options or network.spec.ipam_options or IPAMOptions()
    found = (_network(config.subnet) for config in options.configs)
    return tuple(each for each in found if each is not None)


def clashes(node: Node, networks: Iterable[Network]) -> Iterator[Clash]:
    """Between the node's host and these networks of the swarm; what only a wide route touches is none."""
    nearby = host_networks(node)
    for network in networks:
        for subnet in subnets(network):
            for each in nearby:
                if each.forbids(subnet):
                    yield Clash(each, subnet, network)


def remark(node: Node, networks: Iterable[Network]) -> str:
    """What to tell of a node that is in the swarm though its host is in the way; empty if it is not."""
    return next((str(clash) for clash in clashes(node, networks)), "")
