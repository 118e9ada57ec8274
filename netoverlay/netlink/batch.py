"""Requests to the kernel's routing half (rtnetlink), queued as bytes: links, addresses, routes, rules, peers. Sans-I/O.

Everything takes IPv4 and IPv6 addresses as text and finds the family itself. Nothing is sent before
`RouteSocket.commit(batch)`. Devices are their indices; where only links are meant, names do as well.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, AF_UNSPEC

from netoverlay.netlink.exchange import Request
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

NEW_LINK, DELETE_LINK, GET_LINK, SET_LINK = 16, 17, 18, 19  # RTM_*
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DELETE_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
NEW_RULE, DELETE_RULE, GET_RULE = 32, 33, 34
MAIN = 254  # RT_TABLE_MAIN
UNICAST, LOCAL, BLACKHOLE, UNREACHABLE = 1, 2, 6, 7  # RTN_*
SCOPE_GLOBAL, SCOPE_LINK, SCOPE_HOST = 0, 253, 254
TO_TABLE, GOTO, NOP = 1, 2, 3  # FR_ACT_*
#: Marks routes and rules as ours (rtm_protocol, linux/rtnetlink.h: 4 is "static", 32 to 127 are free).
PROTOCOL = 0x50
_AF_BRIDGE = 7
_LINK = struct.Struct("=BxHiII")
_PEER_V4 = struct.Struct("=B3xiHBB HH4s HH6s2x")  # ndmsg, NDA_DST, NDA_LLADDR: the hot path in one piece
_PEER_V6 = struct.Struct("=B3xiHBB HH16s HH6s2x")
_PERMANENT, _NOARP = 0x80, 0x40  # NUD_*
_SELF, _MASTER, _PROXY, _STICKY, _ROUTER = 2, 4, 8, 0x40, 0x80  # NTF_*
_UP = 1
_NODAD = 2  # IFA_F_NODAD
_ONLINK = 4  # RTNH_F_ONLINK
_INVERT = 2
_PUT, _NEW = CREATE | REPLACE, CREATE | EXCLUSIVE


def _link_head(index: int, up: bool | None) -> bytes:
    return _LINK.pack(AF_UNSPEC, 0, index, _UP if up else 0, 0 if up is None else _UP)


class RouteBatch:
    """A queue of requests. The same one may be committed to several namespaces."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __len__(self) -> int:
        return len(self.requests)

    def _add(self, kind: int, flags: int, body: bytes, what: str) -> None:
        self.requests.append(Request(kind, flags, body, what))

    # -- links -------------------------------------------------------------------------------------
    def _link(
        self,
        name: str,
        info: bytes,
        *,
        index: int,
        mtu: int,
        mac: str,
        up: bool,
        master: int = 0,
        netns_fd: int = -1,
    ) -> None:
        parts = [_link_head(index, up), attribute(3, name)]
        if mtu:
            parts.append(attribute(4, mtu))
        if mac:
            parts.append(attribute(1, pack_mac(mac)))
        if master:
            parts.append(attribute(10, master))
        if netns_fd >= 0:
            parts.append(attribute(28, netns_fd))  # IFLA_NET_NS_FD
        self._add(NEW_LINK, _NEW, b"".join([*parts, info]), f"make {name}")

    def link_bridge(
        self,
        name: str,
        *,
        mtu: int = 0,
        mac: str = "",
        index: int = 0,
        up: bool = True,
    ) -> None:
        """A bridge without spanning tree and multicast snooping. EEXIST where the name or index is taken."""
        info = nested(
            18, attribute(1, "bridge"), nested(2, attribute(5, 0), attribute(23, b"\0"))
        )  # STP, MCAST_SNOOPING
        self._link(name, info, index=index, mtu=mtu, mac=mac, up=up)

    def link_vxlan(
        self,
        name: str,
        vni: int,
        *,
        local: str,
        port: int = 4789,
        mtu: int = 0,
        mac: str = "",
        index: int = 0,
        netns_fd: int = -1,
        up: bool = False,
        proxy: bool = True,
    ) -> None:
        """A VXLAN device without learning. Its UDP socket is of the namespace this is sent in, the device itself of
        `netns_fd` (a descriptor of this process) where given. EEXIST where the VNI is in use on `port`."""
        family, address = pack_address(local)
        data = [
            attribute(1, vni),
            attribute(4 if family == AF_INET else 17, address),
            attribute(15, struct.pack("!H", port)),
            attribute(7, b"\0"),  # learning
            attribute(11, bytes([proxy])),
        ]
        info = nested(18, attribute(1, "vxlan"), nested(2, *data))
        self._link(name, info, index=index, mtu=mtu, mac=mac, up=up, netns_fd=netns_fd)

    def link_veth(
        self,
        name: str,
        peer: str,
        *,
        peer_netns_fd: int = -1,
        mtu: int = 0,
        mac: str = "",
        peer_mac: str = "",
        index: int = 0,
        peer_index: int = 0,
        master: int = 0,
        up: bool = False,
    ) -> None:
        """A pair; `peer` goes to `peer_netns_fd` where given. It cannot be up at birth (ENOTCONN): set it up in its
        namespace."""
        parts = [_link_head(peer_index, None), attribute(3, peer)]
        if mtu:
            parts.append(attribute(4, mtu))
        if peer_mac:
            parts.append(attribute(1, pack_mac(peer_mac)))
        if peer_netns_fd >= 0:
            parts.append(attribute(28, peer_netns_fd))
        info = nested(18, attribute(1, "veth"), nested(2, attribute(1, b"".join(parts))))  # VETH_INFO_PEER
        self._link(name, info, index=index, mtu=mtu, mac=mac, up=up, master=master)

    def link_set(
        self,
        device: int | str,
        *,
        up: bool | None = None,
        master: int | None = None,
        mtu: int = 0,
        name: str = "",
        mac: str = "",
        netns_fd: int = -1,
        link_local: bool | None = None,
    ) -> None:
        """Change what is given. `master` 0 takes the device off its bridge. ENODEV where it is not there.

        `link_local`: whether it gets an IPv6 link-local address when it comes up. The kernel takes no such wish with
        a new device; net.ipv6.conf.default.addr_gen_mode of its namespace decides until then.
        """
        parts = [_link_head(device if isinstance(device, int) else 0, up)]
        if isinstance(device, str):
            parts.append(attribute(3, device))
        elif name:
            parts.append(attribute(3, name))
        if mtu:
            parts.append(attribute(4, mtu))
        if mac:
            parts.append(attribute(1, pack_mac(mac)))
        if master is not None:
            parts.append(attribute(10, master))
        if netns_fd >= 0:
            parts.append(attribute(28, netns_fd))
        if link_local is not None:
            mode = b"\0" if link_local else b"\1"  # IN6_ADDR_GEN_MODE_EUI64, _NONE
            parts.append(nested(26, nested(AF_INET6, attribute(8, mode))))
        self._add(NEW_LINK, 0, b"".join(parts), f"set {device}")

    def port(self, device: int | str, *, learning: bool, flooding: bool) -> None:
        """How a bridge treats this port of it: whether it believes a frame's source to be behind it, and whether
        frames to unknown hardware addresses leave by it. EOPNOTSUPP where the device is no port."""
        by_name = isinstance(device, str)
        head = _link_head(0 if by_name else int(device), None)
        name = attribute(3, device) if by_name else b""
        wanted = nested(5, attribute(8, bytes([learning])), attribute(9, bytes([flooding])))  # IFLA_BRPORT_*
        body = head + name + nested(18, attribute(4, "bridge"), wanted)  # IFLA_INFO_SLAVE_KIND, _DATA
        self._add(NEW_LINK, 0, body, f"set port {device}")

    def link_delete(self, device: int | str) -> None:
        """ENODEV where it is not there. The kernel waits some 20 ms for its readers."""
        by_name = isinstance(device, str)
        body = _link_head(0, None) + attribute(3, device) if by_name else _link_head(int(device), None)
        self._add(DELETE_LINK, 0, body, f"delete {device}")

    # -- addresses ---------------------------------------------------------------------------------
    def address(self, index: int, cidr: str, *, scope: int = SCOPE_GLOBAL, peer: str = "") -> None:
        """Give the device an address, which it may have already. IPv6 without duplicate address detection: the
        allocator gives each address once, and detection would keep it from being used for a second."""
        self._address(NEW_ADDRESS, _PUT, index, cidr, scope, peer)

    def address_delete(self, index: int, cidr: str) -> None:
        """EADDRNOTAVAIL where it is not there."""
        self._address(DELETE_ADDRESS, 0, index, cidr, SCOPE_GLOBAL, "")

    def _address(self, kind: int, flags: int, index: int, cidr: str, scope: int, peer: str) -> None:
        family, packed, bits = pack_network(cidr)
        marks = _NODAD if family == AF_INET6 else 0
        head = struct.pack("=BBBBI", family, bits, marks, scope, index)
        other = pack_address(peer)[1] if peer else packed
        self._add(kind, flags, head + attribute(2, packed) + attribute(1, other), f"address {cidr}")

    # -- routes ------------------------------------------------------------------------------------
    def route(
        self,
        destination: str,
        *,
        index: int = 0,
        gateway: str = "",
        source: str = "",
        table: int = MAIN,
        scope: int | None = None,
        metric: int = 0,
        onlink: bool = False,
        kind: int = UNICAST,
        family: int = 0,
        mtu: int = 0,
    ) -> None:
        """Make or replace the route to `destination`: a CIDR, or "default" of `family` (or the gateway's).

        `scope` is the link where there is no gateway, unless given. `onlink`: the gateway is on the device even if
        no address says so.
        """
        body = self._route(destination, index, gateway, source, table, scope, metric, onlink, kind, family)
        if mtu:
            body += nested(8, attribute(2, mtu))  # RTA_METRICS, RTAX_MTU
        self._add(NEW_ROUTE, _PUT, body, f"route to {destination}")

    def route_delete(
        self,
        destination: str,
        *,
        index: int = 0,
        gateway: str = "",
        table: int = MAIN,
        metric: int = 0,
        kind: int = 0,
        family: int = 0,
    ) -> None:
        """ESRCH where there is none that fits what is given."""
        scope = 255  # RT_SCOPE_NOWHERE: of any
        body = self._route(destination, index, gateway, "", table, scope, metric, False, kind, family)
        self._add(DELETE_ROUTE, 0, body, f"delete route to {destination}")

    def _route(
        self,
        destination: str,
        index: int,
        gateway: str,
        source: str,
        table: int,
        scope: int | None,
        metric: int,
        onlink: bool,
        kind: int,
        family: int,
    ) -> bytes:
        parts = []
        bits = 0
        if destination != "default":
            family, packed, bits = pack_network(destination)
            parts.append(attribute(1, packed))
        if gateway:
            via, packed = pack_address(gateway)
            family = family or via
            parts.append(attribute(5, packed))
        if scope is None:
            scope = SCOPE_GLOBAL if gateway or kind != UNICAST else SCOPE_LINK
        if family == AF_INET6 and scope != 255:
            scope = SCOPE_GLOBAL
        if index:
            parts.append(attribute(4, index))
        if source:
            parts.append(attribute(7, pack_address(source)[1]))
        if metric:
            parts.append(attribute(6, metric))
        parts.append(attribute(15, table))
        short = table if table < 256 else 0
        protocol = 0 if scope == 255 else PROTOCOL
        flags = _ONLINK if onlink else 0
        head = struct.pack("=8BI", family or AF_INET, bits, 0, 0, short, protocol, scope, kind, flags)
        return head + b"".join(parts)

    # -- rules -------------------------------------------------------------------------------------
    def rule(
        self,
        priority: int,
        *,
        family: int = AF_INET,
        table: int = 0,
        goto: int = 0,
        mark: int = 0,
        mask: int = 0,
        invert: bool = False,
        source: str = "",
        destination: str = "",
        iif: str = "",
        oif: str = "",
    ) -> None:
        """A rule that looks into `table`, or goes on at priority `goto`, or (with neither) does nothing.

        It fits packets whose mark under `mask` is `mark` and so on, or with `invert` all others. EEXIST where there
        is the same one.
        """
        self._rule(
            NEW_RULE, _NEW, priority, family, table, goto, mark, mask, invert, source, destination, iif, oif
        )

    def rule_delete(
        self,
        priority: int,
        *,
        family: int = AF_INET,
        table: int = 0,
        goto: int = 0,
        mark: int = 0,
        mask: int = 0,
        invert: bool = False,
        source: str = "",
        destination: str = "",
        iif: str = "",
        oif: str = "",
    ) -> None:
        """ENOENT where there is none that fits what is given."""
        self._rule(
            DELETE_RULE, 0, priority, family, table, goto, mark, mask, invert, source, destination, iif, oif
        )

    def _rule(
        self,
        kind: int,
        flags: int,
        priority: int,
        family: int,
        table: int,
        goto: int,
        mark: int,
        mask: int,
        invert: bool,
        source: str,
        destination: str,
        iif: str,
        oif: str,
    ) -> None:
        parts = [attribute(6, priority), attribute(21, bytes([PROTOCOL]))]
        bits = {1: 0, 2: 0}
        for number, network in ((1, destination), (2, source)):
            if network:
                family, packed, bits[number] = pack_network(network)
                parts.append(attribute(number, packed))
        parts += [attribute(number, name) for number, name in ((3, iif), (17, oif)) if name]
        if mark or mask:
            parts += [attribute(10, mark), attribute(16, mask or 0xFFFFFFFF)]
        if goto:
            parts.append(attribute(4, goto))
        elif table:
            parts.append(attribute(15, table))
        action = GOTO if goto else TO_TABLE if table else NOP if kind == NEW_RULE else 0  # 0: any
        head = struct.pack("=8BI", family, bits[1], bits[2], 0, 0, 0, 0, action, _INVERT if invert else 0)
        self._add(kind, flags, head + b"".join(parts), f"rule {priority}")

    # -- peers -------------------------------------------------------------------------------------
    def neighbour(self, index: int, address: str, mac: str) -> None:
        """Who asks for `address` on the device is answered `mac`, for ever. Replaces what was there."""
        self._peer(NEW_NEIGHBOUR, _PUT, 0, index, 0, address, mac)

    def neighbour_delete(self, index: int, address: str) -> None:
        """ENOENT where there is none."""
        family, packed = pack_address(address)
        head = struct.pack("=B3xiHBB", family, index, 0, 0, 0)
        self._add(DELETE_NEIGHBOUR, 0, head + attribute(1, packed), "delete neighbour")

    def fdb(self, index: int, mac: str, vtep: str) -> None:
        """The VXLAN device sends frames to `mac` to the host `vtep`. Of several destinations the first is replaced."""
        self._peer(NEW_NEIGHBOUR, _PUT, _AF_BRIDGE, index, _SELF, vtep, mac)

    def port_fdb(self, index: int, mac: str) -> None:
        """The bridge sends frames to `mac` out by this port of it, for ever, whatever other ports claim."""
        head = struct.pack("=B3xiHBB", _AF_BRIDGE, index, _NOARP, _MASTER | _STICKY, 0)
        self._add(NEW_NEIGHBOUR, _PUT, head + attribute(2, pack_mac(mac)), "forwarding entry of a port")

    def fdb_delete(
        self, index: int, mac: str, vtep: str = "", *, port: int = 0, vni: int = 0, via: int = 0
    ) -> None:
        """One destination of `mac`, or all without `vtep`. ENOENT where there is none such."""
        head = struct.pack("=B3xiHBB", _AF_BRIDGE, index, _PERMANENT, _SELF, 0)
        parts = [attribute(2, pack_mac(mac))]
        if vtep:
            parts.append(attribute(1, pack_address(vtep)[1]))
        if port:
            parts.append(attribute(6, struct.pack("!H", port)))
        if vni:
            parts.append(attribute(7, vni))
        if via:
            parts.append(attribute(8, via))
        self._add(DELETE_NEIGHBOUR, 0, head + b"".join(parts), "delete forwarding entry")

    def _peer(
        self, kind: int, flags: int, family: int, index: int, marks: int, address: str, mac: str
    ) -> None:
        found, packed = pack_address(address)
        layout, size = (_PEER_V4, 8) if found == AF_INET else (_PEER_V6, 20)
        body = layout.pack(
            family or found, index, _PERMANENT, marks, 0, size, 1, packed, 10, 2, pack_mac(mac)
        )
        self._add(kind, flags, body, "forwarding entry" if family else "neighbour")
