"""What the kernel tells of its links, addresses, neighbours and forwarding entries. Sans-I/O.

Layouts: linux/if_link.h, if_addr.h, neighbour.h. Its routes and rules are in `netoverlay.netlink.routing`.
"""

from __future__ import annotations

import struct

from msgspec import Struct
from msgspec.structs import replace

from netoverlay.netlink.links import HEAD
from netoverlay.netlink.numbers import (
    IFF_UP,
    AddressPart,
    InfoPart,
    LinkPart,
    NeighbourMark,
    NeighbourPart,
    NeighbourState,
    PortPart,
    VxlanPart,
)
from netoverlay.netlink.wire import attributes, text, u32, unpack_address, unpack_mac

_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_NEIGHBOUR = struct.Struct("=B3xiHBB")  # struct ndmsg: family, index, state, flags, type
# There are thousands of neighbours and entries: plain ints.
_PERMANENT = int(NeighbourState.PERMANENT)
_SELF, _STICKY = int(NeighbourMark.SELF), int(NeighbourMark.STICKY)
_TO, _MAC, _PORT, _VNI, _VIA, _NEXTHOP = (
    int(part)
    for part in (
        NeighbourPart.ADDRESS,
        NeighbourPart.MAC,
        NeighbourPart.PORT,
        NeighbourPart.VNI,
        NeighbourPart.DEVICE,
        NeighbourPart.NEXTHOP,
    )
)
_YES, _NO = b"\1", b"\0"


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


class Neighbour(Struct, frozen=True):
    """`state` is a NeighbourState; `mac` empty while it is not resolved."""

    index: int
    address: str
    mac: str
    state: int

    @property
    def permanent(self) -> bool:
        return bool(self.state & _PERMANENT)


class Forwarding(Struct, frozen=True):
    """One destination of a hardware address. `own`: an entry of the device itself (a VXLAN's), else of the
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
    _, _, index, flags, _ = HEAD.unpack_from(body)
    found = attributes(body, HEAD.size)
    link = Link(
        index=index,
        name=text(found.get(LinkPart.NAME, b"")),
        kind="",
        mac=unpack_mac(found.get(LinkPart.ADDRESS, b"")),
        mtu=_number(found.get(LinkPart.MTU)),
        up=bool(flags & IFF_UP),
        master=_number(found.get(LinkPart.MASTER)),
        peer=_number(found.get(LinkPart.LINK)),
        peer_elsewhere=LinkPart.LINK_NETNS in found,
    )
    if LinkPart.INFO not in found:
        return link
    info = attributes(found[LinkPart.INFO])
    link = replace(link, kind=text(info.get(InfoPart.KIND, b"")))
    if InfoPart.PORT_DATA in info:
        port = attributes(info[InfoPart.PORT_DATA])
        link = replace(
            link,
            port_learning=port.get(PortPart.LEARNING, _YES) != _NO,
            flooding=port.get(PortPart.UNICAST_FLOOD, _YES) != _NO,
        )
    if link.kind != "vxlan" or InfoPart.DATA not in info:
        return link
    data = attributes(info[InfoPart.DATA])
    local = data.get(VxlanPart.LOCAL) or data.get(VxlanPart.LOCAL6)
    return replace(
        link,
        vni=_number(data.get(VxlanPart.ID)),
        local=unpack_address(local) if local else "",
        port=int.from_bytes(data.get(VxlanPart.PORT, b""), "big"),
        learning=data.get(VxlanPart.LEARNING) == _YES,
        proxy=data.get(VxlanPart.PROXY) == _YES,
    )


def read_address(body: bytes) -> Address:
    _, prefix, _, scope, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    own = found.get(AddressPart.LOCAL) or found[AddressPart.ADDRESS]
    return Address(index, unpack_address(own), prefix, scope)


def read_neighbour(body: bytes) -> Neighbour | None:
    """None for entries that are not of IPv4 or IPv6."""
    _, index, state, _, _ = _NEIGHBOUR.unpack_from(body)
    found = attributes(body, 12)
    if (address := found.get(_TO)) is None or len(address) not in (4, 16):
        return None
    return Neighbour(index, unpack_address(address), unpack_mac(found.get(_MAC, b"")), state)


def read_forwarding(body: bytes) -> Forwarding:
    _, index, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    found = attributes(body, 12)
    vtep = found.get(_TO)
    return Forwarding(
        index=index,
        mac=unpack_mac(found.get(_MAC, b"")),
        vtep=unpack_address(vtep) if vtep else "",
        state=state,
        own=bool(flags & _SELF),
        sticky=bool(flags & _STICKY),
        port=int.from_bytes(found.get(_PORT, b""), "big"),
        vni=u32(found[_VNI]) if _VNI in found else 0,
        via=u32(found[_VIA]) if _VIA in found else 0,
        nexthop=u32(found[_NEXTHOP]) if _NEXTHOP in found else 0,
    )


def _number(value: bytes | None) -> int:
    return 0 if value is None else u32(value)
