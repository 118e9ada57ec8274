"""What the hosts of a lab are told of networks: their subnet, routes to others, the family in which they meet."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network

from msgspec import Struct

from swarmcore.errors import Invalid

LAST = 201  # of the numbers that hosts and clients have in their subnet
#: Foreign networks are behind this host of the subnet, if it is there: the tests' client.
ROUTER = 201
_MOST_ROUTES = 8
_IPV6 = "ipv6"


class Wires(Struct, frozen=True, kw_only=True):
    """`routes` (CIDR) are networks behind the subnet's number `ROUTER`. `ipv6`: the swarm's nodes meet over IPv6."""

    subnet: str = "10.77.0.0/24"
    routes: tuple[str, ...] = ()
    ipv6: bool = False

    def address(self, number: int) -> str:
        return str(IPv4Network(self.subnet)[number])

    @property
    def prefix(self) -> int:
        return IPv4Network(self.subnet).prefixlen

    def text(self) -> str:
        """One line, for `wires_of`."""
        return " ".join((self.subnet, *((_IPV6,) if self.ipv6 else ()), *self.routes))


DEFAULT = Wires()


def wires(subnet: str = "", routes: Sequence[str] = (), *, ipv6: bool = False) -> Wires:
    """Invalid where hosts do not fit, or something is no network."""
    found = _network(subnet or DEFAULT.subnet)
    if not isinstance(found, IPv4Network) or found.num_addresses <= LAST + 1:
        raise Invalid(f"a lab does not fit into {found}", "use an IPv4 subnet of at least 256 addresses")
    if len(routes) > _MOST_ROUTES:
        raise Invalid(f"a lab has at most {_MOST_ROUTES} routes")
    return Wires(subnet=str(found), routes=tuple(str(_network(each)) for each in routes), ipv6=ipv6)


def wires_of(text: str) -> Wires:
    """Of `Wires.text`."""
    subnet, *rest = text.split()
    return wires(subnet, [word for word in rest if word != _IPV6], ipv6=_IPV6 in rest)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise Invalid(f"invalid network {text!r}: {error}", "write it like 10.0.0.0/24") from None
