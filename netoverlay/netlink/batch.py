"""Requests to the kernel's routing half (rtnetlink), queued as bytes: links, addresses, routes, rules, peers. Sans-I/O.

Everything takes IPv4 and IPv6 addresses as text and finds the family itself. Nothing is sent before
`RouteSocket.commit(batch)`. Devices are their indices; where only links are meant, names do as well.

What is made must not be there yet (EEXIST); what is put may be, and is replaced.
"""

from __future__ import annotations

import struct
from socket import AF_INET6

from netoverlay.netlink.exchange import Request
from netoverlay.netlink.links import Bridge, Veth, Vxlan, link_head
from netoverlay.netlink.numbers import (
    AF_BRIDGE,
    INET6_GEN_MODE,
    NO_DUPLICATE_DETECTION,
    AddressPart,
    GenMode,
    InfoPart,
    LinkPart,
    NeighbourMark,
    NeighbourPart,
    NeighbourState,
    PortPart,
    Scope,
    Verb,
)
from netoverlay.netlink.routing import Route, Rule, encode_route, encode_rule
from netoverlay.netlink.wire import (
    CREATE,
    EXCLUSIVE,
    REPLACE,
    attribute,
    nested,
    pack_address,
    pack_mac,
    pack_network,
)

_MAKE, _PUT = CREATE | EXCLUSIVE, CREATE | REPLACE
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_PEER = struct.Struct("=B3xiHBB")  # struct ndmsg: family, index, state, flags, type
# With NDA_DST and NDA_LLADDR behind it: thousands of them are the hot path, so all in one piece and of plain ints.
_PEER_V4 = struct.Struct("=B3xiHBB HH4s HH6s2x")
_PEER_V6 = struct.Struct("=B3xiHBB HH16s HH6s2x")
_NEW_NEIGHBOUR = int(Verb.NEW_NEIGHBOUR)
_PERMANENT, _SELF = int(NeighbourState.PERMANENT), int(NeighbourMark.SELF)
_TO, _MAC = int(NeighbourPart.ADDRESS), int(NeighbourPart.MAC)
_STAYS_HERE = int(NeighbourMark.MASTER | NeighbourMark.STICKY)


class RouteBatch:
    """A queue of requests. The same one may be committed to several namespaces."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __len__(self) -> int:
        return len(self.requests)

    def _add(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self.requests.append(Request(kind, flags, body, what))

    # -- links -------------------------------------------------------------------------------------
    def make_link(self, link: Bridge | Vxlan | Veth) -> None:
        """EEXIST where the name is taken, or a VXLAN's VNI on its port."""
        self._add(Verb.NEW_LINK, _MAKE, link.encode(), f"make {link.name}")

    def change_link(
        self,
        device: int | str,
        *,
        up: bool | None = None,
        master: int | None = None,
        mtu: int = 0,
        mac: str = "",
        link_local: bool | None = None,
    ) -> None:
        """Change what is given. `master` 0 takes the device off its bridge. ENODEV where it is not there.

        `link_local`: whether it gets an IPv6 link-local address when it comes up. The kernel takes no such wish with
        a new device; net.ipv6.conf.default.addr_gen_mode of its namespace decides until then.
        """
        parts = [_which(device, up)]
        if mtu:
            parts.append(attribute(LinkPart.MTU, mtu))
        if mac:
            parts.append(attribute(LinkPart.ADDRESS, pack_mac(mac)))
        if master is not None:
            parts.append(attribute(LinkPart.MASTER, master))
        if link_local is not None:
            mode = bytes([GenMode.EUI64 if link_local else GenMode.NONE])
            parts.append(nested(LinkPart.AF_SPEC, nested(AF_INET6, attribute(INET6_GEN_MODE, mode))))
        self._add(Verb.NEW_LINK, 0, b"".join(parts), f"set {device}")

    def change_port(self, device: int | str, *, learning: bool, flooding: bool) -> None:
        """How a bridge treats this port of it: whether it believes a frame's source to be behind it, and whether
        frames to unknown hardware addresses leave by it. EOPNOTSUPP where the device is no port."""
        wanted = nested(
            InfoPart.PORT_DATA,
            attribute(PortPart.LEARNING, bytes([learning])),
            attribute(PortPart.UNICAST_FLOOD, bytes([flooding])),
        )
        body = _which(device) + nested(LinkPart.INFO, attribute(InfoPart.PORT_KIND, "bridge"), wanted)
        self._add(Verb.NEW_LINK, 0, body, f"set port {device}")

    def delete_link(self, device: int | str) -> None:
        """ENODEV where it is not there. The kernel waits some 20 ms for its readers."""
        self._add(Verb.DELETE_LINK, 0, _which(device), f"delete {device}")

    # -- addresses ---------------------------------------------------------------------------------
    def put_address(self, index: int, cidr: str) -> None:
        """Give the device an address, which it may have already. IPv6 without duplicate address detection: the
        allocator gives each address once, and detection would keep it from being used for a second."""
        self._add(Verb.NEW_ADDRESS, _PUT, _address(index, cidr), f"address {cidr}")

    def delete_address(self, index: int, cidr: str) -> None:
        """EADDRNOTAVAIL where it is not there."""
        self._add(Verb.DELETE_ADDRESS, 0, _address(index, cidr), f"address {cidr}")

    # -- routes and rules --------------------------------------------------------------------------
    def put_route(self, route: Route) -> None:
        """Make it, or replace the one with its destination, table and metric."""
        self._add(Verb.NEW_ROUTE, _PUT, encode_route(route), f"route to {route.destination}")

    def delete_route(self, route: Route) -> None:
        """ESRCH where there is none that fits what is given."""
        body = encode_route(route, to_delete=True)
        self._add(Verb.DELETE_ROUTE, 0, body, f"delete route to {route.destination}")

    def make_rule(self, rule: Rule) -> None:
        """EEXIST where there is the same one."""
        self._add(Verb.NEW_RULE, _MAKE, encode_rule(rule), f"rule {rule.priority}")

    def delete_rule(self, rule: Rule) -> None:
        """ENOENT where there is none that fits what is given."""
        self._add(Verb.DELETE_RULE, 0, encode_rule(rule, to_delete=True), f"rule {rule.priority}")

    # -- peers -------------------------------------------------------------------------------------
    def put_neighbour(self, index: int, address: str, mac: str) -> None:
        """Who asks for `address` on the device is answered `mac`, for ever. Replaces what was there."""
        family, packed = pack_address(address)
        self._put_peer(family, index, 0, packed, mac, "neighbour")

    def delete_neighbour(self, index: int, address: str) -> None:
        """ENOENT where there is none."""
        family, packed = pack_address(address)
        body = _PEER.pack(family, index, 0, 0, 0) + attribute(_TO, packed)
        self._add(Verb.DELETE_NEIGHBOUR, 0, body, "delete neighbour")

    def put_fdb(self, index: int, mac: str, vtep: str) -> None:
        """The VXLAN device sends frames to `mac` to the host `vtep`. Of several destinations the first is replaced."""
        self._put_peer(AF_BRIDGE, index, _SELF, pack_address(vtep)[1], mac, "forwarding entry")

    def put_port_fdb(self, index: int, mac: str) -> None:
        """The bridge sends frames to `mac` out by this port of it, for ever, whatever other ports claim."""
        head = _PEER.pack(AF_BRIDGE, index, NeighbourState.NOARP, _STAYS_HERE, 0)
        body = head + attribute(_MAC, pack_mac(mac))
        self._add(_NEW_NEIGHBOUR, _PUT, body, "forwarding entry of a port")

    def delete_fdb(
        self, index: int, mac: str, vtep: str = "", *, port: int = 0, vni: int = 0, via: int = 0
    ) -> None:
        """One destination of `mac`, or all without `vtep`. ENOENT where there is none such."""
        head = _PEER.pack(AF_BRIDGE, index, _PERMANENT, _SELF, 0)
        parts = [head, attribute(_MAC, pack_mac(mac))]
        if vtep:
            parts.append(attribute(_TO, pack_address(vtep)[1]))
        if port:
            parts.append(attribute(NeighbourPart.PORT, struct.pack("!H", port)))
        if vni:
            parts.append(attribute(NeighbourPart.VNI, vni))
        if via:
            parts.append(attribute(NeighbourPart.DEVICE, via))
        self._add(Verb.DELETE_NEIGHBOUR, 0, b"".join(parts), "delete forwarding entry")

    def _put_peer(self, family: int, index: int, marks: int, to: bytes, mac: str, what: str) -> None:
        layout, size = (_PEER_V4, 8) if len(to) == 4 else (_PEER_V6, 20)
        body = layout.pack(family, index, _PERMANENT, marks, 0, size, _TO, to, 10, _MAC, pack_mac(mac))
        self.requests.append(Request(_NEW_NEIGHBOUR, _PUT, body, what))


def _which(device: int | str, up: bool | None = None) -> bytes:
    """The head of a message about a link that is there."""
    if isinstance(device, str):
        return link_head(0, up) + attribute(LinkPart.NAME, device)
    return link_head(device, up)


def _address(index: int, cidr: str) -> bytes:
    family, packed, bits = pack_network(cidr)
    marks = NO_DUPLICATE_DETECTION if family == AF_INET6 else 0
    head = _ADDRESS.pack(family, bits, marks, Scope.GLOBAL, index)
    return head + attribute(AddressPart.LOCAL, packed) + attribute(AddressPart.ADDRESS, packed)
