"""The ingress network on this host: the device `vxi`, who is behind it, and the way back to the node of a connection.

A replica's host marks each connection with the node that it came through (`MARK` plus the node's number); the rules
here send what is marked into that node's table, whose only route leads back to it over `vxi`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6

from msgspec import Struct

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.numbers import RouteKind, Table
from netoverlay.netlink.route import RouteSocket
from netoverlay.netlink.routing import Route, Rule
from netoverlay.netlink.wire import pack_address, unpack_address
from swarmcore.model.overlay import NetworkTable

DEVICE = "vxi"
#: A packet's mark is MARK plus a node's number; these bits say that it is one of ours.
MARK, MARK_MASK = 0x70000, 0xFF0000
_EXACT = 0xFFFFFF
FIRST_TABLE = 7000
# A thousand rules in a row would cost every packet (measured: connecting took twice as long). What carries no mark
# of ours meets three; what does goes behind the kernel's own rules (32767), where a tree of two levels is.
_ARRIVED, _MARKED, _GO_ON, _TREE, _LEAVES = 700, 701, 702, 40_000, 40_001
_GROUP_BITS = 6


# The kernel takes packets for ::1 only from a device that a route says it is on. This one is for replies to the host's
# own connections to [::1]; from the wire, ::1 is refused before any of it (RFC 4291, 2.5.3).
_LOCALHOST, _BEHIND_LO = "::1/128", 4000


class Device(Struct, frozen=True, kw_only=True):
    """What `vxi` is. `local` is this host's data path address."""

    vni: int
    port: int
    local: str
    mac: str


class Mesh(Struct, frozen=True, kw_only=True):
    """`addresses` (CIDR) of this node, MACs by address, (MAC, VTEP) of nodes, (table, gateway) of ways back.

    `localhost`: replies to [::1] are taken from the device.
    """

    addresses: frozenset[str] = frozenset()
    neighbours: Mapping[str, str] = {}
    entries: frozenset[tuple[str, str]] = frozenset()
    routes: frozenset[tuple[int, str]] = frozenset()
    rules: frozenset[Rule] = frozenset()
    localhost: bool = False


NOTHING = Mesh()


def node_mac(number: int) -> str:
    """The hardware address of a node's `vxi`: by it the others know through which node a packet came."""
    return f"02:70:73:00:{number >> 8:02x}:{number & 0xFF:02x}"


def device(table: NetworkTable, node_id: str) -> Device | None:
    """None where the table does not have this node yet, or the network no subnet."""
    node = table.nodes.get(node_id)
    if node is None or not node.number or not table.network.subnets:
        return None
    return Device(
        vni=table.network.subnets[0].vni,
        port=table.network.port,
        local=node.vtep,
        mac=node_mac(node.number),
    )


@lru_cache(maxsize=1 << 16)
def _canonical(address: str) -> str:
    """As the kernel's answers are written."""
    return unpack_address(pack_address(address)[1])


def mesh(table: NetworkTable, node_id: str, ipv6: bool) -> Mesh:
    """What the kernel shall have for the table; without `ipv6` nothing of it. Empty where `device` is None."""
    if device(table, node_id) is None:
        return NOTHING
    subnets = [ip_network(each.subnet) for each in table.network.subnets]
    others = [each for each in table.nodes.values() if each.id != node_id and each.number]
    families = (AF_INET, AF_INET6) if ipv6 else (AF_INET,)

    def usable(addresses: tuple[str, ...]) -> list[str]:
        return [_canonical(each) for each in addresses if ipv6 or ":" not in each]

    neighbours: dict[str, str] = {}
    for endpoint in table.endpoints.values():
        host = table.nodes.get(endpoint.node_id)
        if host is not None and host.number and host.id != node_id:
            neighbours |= dict.fromkeys(usable(endpoint.addresses), node_mac(host.number))
    for node in others:
        neighbours |= dict.fromkeys(usable(node.addresses), node_mac(node.number))
    return Mesh(
        addresses=frozenset(
            f"{address}/{subnet.prefixlen}"
            for address in usable(table.nodes[node_id].addresses)
            for subnet in subnets
            if ip_address(address) in subnet
        ),
        neighbours=neighbours,
        entries=frozenset((node_mac(node.number), _canonical(node.vtep)) for node in others),
        routes=frozenset(
            (FIRST_TABLE + node.number, address) for node in others for address in usable(node.addresses)
        ),
        rules=policy([node.number for node in others], families),
        localhost=ipv6,
    )


def policy(numbers: list[int], families: tuple[int, ...] = (AF_INET, AF_INET6)) -> frozenset[Rule]:
    """The rules that lead what is marked with one of these nodes' numbers into the node's table.

    What came over `vxi` carries its mark for rp_filter alone and is routed like everything else: the first rule.
    """
    found: set[Rule] = set()
    for family in families:
        found |= {
            Rule(family, _ARRIVED, goto=_GO_ON, iif=DEVICE),
            Rule(family, _MARKED, goto=_TREE, mark=MARK, mask=MARK_MASK),
            Rule(family, _GO_ON),
        }
        for number in numbers:
            group = number >> _GROUP_BITS
            leaf, start = _LEAVES + group, MARK | group << _GROUP_BITS
            mask = _EXACT & ~((1 << _GROUP_BITS) - 1)
            found.add(Rule(family, _TREE, goto=leaf, mark=start, mask=mask))
            found.add(Rule(family, leaf, table=FIRST_TABLE + number, mark=MARK | number, mask=_EXACT))
    return frozenset(found)


def difference(actual: Mesh, wanted: Mesh, index: int) -> RouteBatch:
    """The requests from one to the other; what agrees is not touched. Nothing is led anywhere before there is
    somebody to answer, and nobody goes before nothing leads there."""
    batch = RouteBatch()
    for cidr in wanted.addresses - actual.addresses:
        batch.put_address(index, cidr)
    if wanted.localhost and not actual.localhost:
        accept_localhost(batch, index)
    for mac, vtep in wanted.entries - actual.entries:
        batch.put_fdb(index, mac, vtep)
    for address, mac in wanted.neighbours.items():
        if actual.neighbours.get(address) != mac:
            batch.put_neighbour(index, address, mac)
    for table, gateway in wanted.routes - actual.routes:
        batch.put_route(Route("default", gateway=gateway, index=index, table=table, onlink=True))
    for rule in sorted(wanted.rules - actual.rules):
        batch.make_rule(rule)
    for rule in sorted(actual.rules - wanted.rules, reverse=True):
        batch.delete_rule(rule)
    kept = {
        (table, ":" in gateway) for table, gateway in wanted.routes
    }  # a new gateway has replaced the old one
    for table, gateway in actual.routes - wanted.routes:
        if (table, ":" in gateway) not in kept:
            batch.delete_route(Route("default", gateway=gateway, index=index, table=table))
    for address in actual.neighbours.keys() - wanted.neighbours.keys():
        batch.delete_neighbour(index, address)
    moved = {mac for mac, _ in wanted.entries - actual.entries}  # the destination was replaced
    for mac, vtep in actual.entries - wanted.entries:
        if mac not in moved:
            batch.delete_fdb(index, mac, vtep)
    for cidr in actual.addresses - wanted.addresses:
        batch.delete_address(index, cidr)
    return batch


def accept_localhost(batch: RouteBatch, index: int) -> None:
    """Let connections of the host to [::1] be answered by way of this device."""
    # A metric of its own: of two IPv6 routes with the same one, the second would replace the first.
    batch.put_route(
        Route(_LOCALHOST, index=index, table=Table.LOCAL, kind=RouteKind.LOCAL, metric=_BEHIND_LO + index)
    )


def accepts_localhost(route: RouteSocket) -> set[int]:
    """The devices for which `accept_localhost` was done."""
    return {each.index for each in route.routes(Table.LOCAL, AF_INET6) if each.destination == _LOCALHOST}
