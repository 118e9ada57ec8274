"""What networks a host is in, and to which it knows a way: networks of the swarm keep away from both. Blocking."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_interface, ip_network

from msgspec import Struct

from netoverlay.netlink.numbers import PROTOCOL, RouteKind
from netoverlay.netlink.records import Address, Link
from netoverlay.netlink.route import RouteSocket
from netoverlay.netlink.routing import Route
from swarmcore.ipam import Subnet

log = logging.getLogger(__name__)
_OUR_PREFIXES = ("gv", "lv")  # the host's ends of containers' wires
_OUR_DEVICE = "vxi"
#: Routes with a shorter prefix say "everywhere", as a default route does (0.0.0.0/1 of VPNs, 2000::/3).
_WIDEST = 8
#: More is not told: a description has to fit a message.
MOST_ROUTES = 256
MOST_ADDRESSES = 1024


class Surroundings(Struct, frozen=True, kw_only=True):
    """`addresses` are the host's own, each with the prefix length of its network. `routes` are networks (CIDR) behind
    others, the widest first."""

    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


def surroundings(route: RouteSocket, own: Collection[str] = ()) -> Surroundings:
    """`own` are devices that pyswarm made here beside those whose names tell so: bridges of local networks."""
    return arranged(route.links(), route.addresses(), route.routes(0), own)


def arranged(
    links: Iterable[Link], addresses: Iterable[Address], routes: Iterable[Route], own: Collection[str]
) -> Surroundings:
    """The same of what the kernel said. Pure."""
    ours = {link.index for link in links if _is_ours(link.name, own)}
    found = {
        f"{each.address}/{each.prefix}"
        for each in addresses
        if each.index not in ours and _is_somewhere(ip_interface(each.address).network)
    }
    connected = {ip_interface(each).network for each in found}
    ways = {
        network
        for each in routes
        if each.index not in ours and (network := _destination(each)) is not None and network not in connected
    }
    told = list(ways)
    if len(told) > MOST_ROUTES:
        # Not before: two networks side by side are more than a way in the direction of both.
        told = list(_collapsed(ways))
    told.sort(key=lambda each: (each.version, each.prefixlen, each))
    if len(told) > MOST_ROUTES:
        log.warning(
            "this host has more routes than the swarm is told of",
            extra={"routes": len(told), "told": MOST_ROUTES},
        )
    own_addresses = sorted(found)
    if len(own_addresses) > MOST_ADDRESSES:
        log.warning(
            "this host has more addresses than the swarm is told of",
            extra={"addresses": len(own_addresses), "told": MOST_ADDRESSES},
        )
    return Surroundings(
        addresses=tuple(own_addresses[:MOST_ADDRESSES]), routes=tuple(map(str, told[:MOST_ROUTES]))
    )


def _is_ours(name: str, own: Collection[str]) -> bool:
    return name == _OUR_DEVICE or name.startswith(_OUR_PREFIXES) or name in own


def _destination(route: Route) -> Subnet | None:
    """None where it leads nowhere in particular, or to this host or link alone."""
    if route.destination == "default" or route.protocol == PROTOCOL:
        return None
    network = ip_network(route.destination, strict=False)
    # A blackhole or a refusal means that nobody is there; single local addresses were counted as such.
    leads = route.kind == RouteKind.UNICAST or (route.kind == RouteKind.LOCAL and network.num_addresses > 1)
    return network if leads and network.prefixlen >= _WIDEST and _is_somewhere(network) else None


def _is_somewhere(network: Subnet) -> bool:
    return not (network.is_loopback or network.is_link_local or network.is_multicast)


def _collapsed(networks: Collection[Subnet]) -> Iterator[Subnet]:
    yield from collapse_addresses(each for each in networks if isinstance(each, IPv4Network))
    yield from collapse_addresses(each for each in networks if isinstance(each, IPv6Network))
