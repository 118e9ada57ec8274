"""What the kernel tells of its links, addresses, routes, rules, neighbours and forwarding entries. Sans-I/O.

Layouts: linux/if_link.h, if_addr.h, rtnetlink.h, fib_rules.h, neighbour.h.
"""

from __future__ import annotations

import struct

from msgspec import Struct
from msgspec.structs import replace

from netoverlay.netlink.wire import attributes, text, u32, unpack_address, unpack_mac

_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_NEIGHBOUR = struct.Struct("=B3xiHBB")  # struct ndmsg
_UP = 1  # IFF_UP
_PERMANENT = 0x80  # NUD_PERMANENT
_FULL_TABLE = 15  # RTA_TABLE, FRA_TABLE
_INVERT = 2  # FIB_RULE_INVERT


class Link(Struct, frozen=True):
    """One device. `master` is the index of its bridge, 0 without. `peer` is the index of a veth's other end.

    `peer_elsewhere`: it hangs on another namespace (the other end of a veth, the underlay of a VXLAN). `vni`, `local`,
    `port`, `learning` and `proxy` are of VXLAN devices alone.
    """

    index: int
    name: str
    kind: str
    mac: str
    mtu: int
    up: bool
    master: int
    peer: int = 0
    peer_elsewhere: bool = False
    vni: int = 0
    local: str = ""
    port: int = 0
    learning: bool = False
    proxy: bool = False
    # Of a bridge's port: it believes the sources of frames, and those to unknown destinations leave by it.
    port_learning: bool = True
    flooding: bool = True


class Address(Struct, frozen=True):
    index: int
    address: str
    prefix: int
    scope: int


class Route(Struct, frozen=True):
    """`destination` is a CIDR or "default"; `index` the device, `kind` RTN_UNICAST (1), RTN_BLACKHOLE (6), …"""

    destination: str
    index: int
    gateway: str
    source: str
    table: int
    scope: int
    metric: int
    kind: int
    protocol: int
    family: int


class Rule(Struct, frozen=True):
    """`action`: FR_ACT_TO_TBL (1), FR_ACT_GOTO (2), …; `source` and `destination` are CIDRs or empty."""

    family: int
    priority: int
    action: int
    table: int
    goto: int
    mark: int
    mask: int
    invert: bool
    source: str
    destination: str
    iif: str
    oif: str
    protocol: int


class Neighbour(Struct, frozen=True):
    """`state` is a NUD_ value; `mac` empty while it is not resolved."""

    index: int
    address: str
    mac: str
    state: int

    @property
    def permanent(self) -> bool:
        return bool(self.state & _PERMANENT)


class Forwarding(Struct, frozen=True):
    """One destination of a hardware address. `own`: an entry of the device itself (NTF_SELF: a VXLAN's), else of the
    bridge it is a port of, and stays with this port if it is `sticky`. `port`, `vni`, `via` and `nexthop` are 0 where
    they are the device's own."""

    index: int
    mac: str
    vtep: str
    state: int
    own: bool
    sticky: bool = False
    port: int = 0
    vni: int = 0
    via: int = 0
    nexthop: int = 0

    @property
    def permanent(self) -> bool:
        return bool(self.state & _PERMANENT)


def read_link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, 16)
    master = u32(found[10]) if 10 in found else 0
    link = Link(
        index=index,
        name=text(found.get(3, b"")),
        kind="",
        mac=unpack_mac(found.get(1, b"")),
        mtu=u32(found[4]) if 4 in found else 0,
        up=bool(flags & _UP),
        master=master,
        peer=u32(found[5]) if 5 in found else 0,
        peer_elsewhere=37 in found,  # IFLA_LINK_NETNSID
    )
    if 18 not in found:  # IFLA_LINKINFO
        return link
    info = attributes(found[18])
    link = replace(link, kind=text(info.get(1, b"")))
    if 5 in info:  # IFLA_INFO_SLAVE_DATA
        port = attributes(info[5])  # IFLA_BRPORT_LEARNING, _UNICAST_FLOOD
        link = replace(link, port_learning=port.get(8, b"\1") != b"\0", flooding=port.get(9, b"\1") != b"\0")
    if link.kind != "vxlan" or 2 not in info:
        return link
    data = attributes(info[2])
    local = data.get(4) or data.get(17)  # IFLA_VXLAN_LOCAL, _LOCAL6
    return replace(
        link,
        vni=u32(data[1]) if 1 in data else 0,
        local=unpack_address(local) if local else "",
        port=int.from_bytes(data.get(15, b""), "big"),
        learning=data.get(7) == b"\1",
        proxy=data.get(11) == b"\1",
    )


def read_address(body: bytes) -> Address:
    _, prefix, _, scope, index = struct.unpack_from("=BBBBI", body)
    found = attributes(body, 8)
    # IFA_LOCAL is the own address; IFA_ADDRESS is that too, or the other end's of a point-to-point line.
    return Address(index, unpack_address(found.get(2) or found[1]), prefix, scope)


def _network(value: bytes | None, bits: int, default: str) -> str:
    return default if value is None else f"{unpack_address(value)}/{bits}"


def read_route(body: bytes) -> Route:
    family, bits, _, _, table, protocol, scope, kind, _ = struct.unpack_from("=BBBBBBBBI", body)
    found = attributes(body, 12)
    return Route(
        destination=_network(found.get(1), bits, "default"),
        index=u32(found[4]) if 4 in found else 0,
        gateway=unpack_address(found[5]) if 5 in found else "",
        source=unpack_address(found[7]) if 7 in found else "",
        table=u32(found[_FULL_TABLE]) if _FULL_TABLE in found else table,
        scope=scope,
        metric=u32(found[6]) if 6 in found else 0,
        kind=kind,
        protocol=protocol,
        family=family,
    )


def read_rule(body: bytes) -> Rule:
    family, to_bits, from_bits, _, table, _, _, action, flags = struct.unpack_from("=BBBBBBBBI", body)
    found = attributes(body, 12)
    mark = u32(found[10]) if 10 in found else 0
    return Rule(
        family=family,
        priority=u32(found[6]) if 6 in found else 0,
        action=action,
        table=u32(found[_FULL_TABLE]) if _FULL_TABLE in found else table,
        goto=u32(found[4]) if 4 in found else 0,
        mark=mark,
        mask=u32(found[16]) if 16 in found else 0,
        invert=bool(flags & _INVERT),
        source=_network(found.get(2), from_bits, ""),
        destination=_network(found.get(1), to_bits, ""),
        iif=text(found.get(3, b"")),
        oif=text(found.get(17, b"")),
        protocol=found[21][0] if 21 in found else 0,
    )


def read_neighbour(body: bytes) -> Neighbour | None:
    """None for entries that are not of IPv4 or IPv6."""
    _, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    found = attributes(body, 12)
    if (address := found.get(1)) is None or len(address) not in (4, 16):
        return None
    return Neighbour(index, unpack_address(address), unpack_mac(found.get(2, b"")), state)


def read_forwarding(body: bytes) -> Forwarding:
    _, index, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    found = attributes(body, 12)
    vtep = found.get(1)
    return Forwarding(
        index=index,
        mac=unpack_mac(found.get(2, b"")),
        vtep=unpack_address(vtep) if vtep else "",
        state=state,
        own=bool(flags & 2),  # NTF_SELF
        sticky=bool(flags & 0x40),  # NTF_STICKY
        port=int.from_bytes(found.get(6, b""), "big"),
        vni=u32(found[7]) if 7 in found else 0,
        via=u32(found[8]) if 8 in found else 0,
        nexthop=u32(found[13]) if 13 in found else 0,
    )
