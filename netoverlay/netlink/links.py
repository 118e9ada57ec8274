"""The links that we make: what each kind shall be, as a value with its encoder. Sans-I/O.

Layouts: linux/if_link.h. What the kernel tells of a link is `netoverlay.netlink.records.Link`.
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_UNSPEC

from msgspec import Struct

from netoverlay.netlink.numbers import (
    IFF_UP,
    VETH_PEER,
    BridgePart,
    InfoPart,
    LinkPart,
    VxlanPart,
)
from netoverlay.netlink.wire import attribute, nested, pack_address, pack_mac

HEAD = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags and which of them count


class Bridge(Struct, frozen=True):
    """Without spanning tree and multicast snooping. `mtu` 0 and no `mac`: the kernel's choice."""

    name: str
    mtu: int = 0
    mac: str = ""
    up: bool = True

    def encode(self) -> bytes:
        parts = attribute(BridgePart.STP_STATE, 0), attribute(BridgePart.MULTICAST_SNOOPING, b"\0")
        return link_head(0, self.up) + _common(self.name, self.mtu, self.mac) + _info("bridge", *parts)


class Vxlan(Struct, frozen=True):
    """Without learning. Its UDP socket (`local`, `port`) is of the namespace that this is sent in, the device itself of
    `netns_fd` (a descriptor of this process) where given. `proxy`: it answers for the neighbours it knows."""

    name: str
    vni: int
    local: str
    port: int = 4789
    mtu: int = 0
    mac: str = ""
    netns_fd: int = -1
    up: bool = False
    proxy: bool = True

    def encode(self) -> bytes:
        family, address = pack_address(self.local)
        parts = (
            attribute(VxlanPart.ID, self.vni),
            attribute(VxlanPart.LOCAL if family == AF_INET else VxlanPart.LOCAL6, address),
            attribute(VxlanPart.PORT, struct.pack("!H", self.port)),
            attribute(VxlanPart.LEARNING, b"\0"),
            attribute(VxlanPart.PROXY, bytes([self.proxy])),
        )
        common = _common(self.name, self.mtu, self.mac, netns_fd=self.netns_fd)
        return link_head(0, self.up) + common + _info("vxlan", *parts)


class Veth(Struct, frozen=True):
    """A pair; `peer` goes to `peer_netns_fd` where given. That end cannot be up at birth (ENOTCONN): its namespace sets
    it up. `master` is the index of the bridge that the near end is a port of."""

    name: str
    peer: str
    peer_netns_fd: int = -1
    mtu: int = 0
    mac: str = ""
    peer_mac: str = ""
    master: int = 0
    up: bool = False

    def encode(self) -> bytes:
        far = _common(self.peer, self.mtu, self.peer_mac, netns_fd=self.peer_netns_fd)
        near = _common(self.name, self.mtu, self.mac, self.master)
        info = _info("veth", attribute(VETH_PEER, link_head(0, None) + far))
        return link_head(0, self.up) + near + info


def link_head(index: int, up: bool | None) -> bytes:
    """`up` None leaves it as it is."""
    return HEAD.pack(AF_UNSPEC, 0, index, IFF_UP if up else 0, 0 if up is None else IFF_UP)


def _common(name: str, mtu: int, mac: str, master: int = 0, netns_fd: int = -1) -> bytes:
    parts = [attribute(LinkPart.NAME, name)]
    if mtu:
        parts.append(attribute(LinkPart.MTU, mtu))
    if mac:
        parts.append(attribute(LinkPart.ADDRESS, pack_mac(mac)))
    if master:
        parts.append(attribute(LinkPart.MASTER, master))
    if netns_fd >= 0:
        parts.append(attribute(LinkPart.NETNS_FD, netns_fd))
    return b"".join(parts)


def _info(kind: str, *parts: bytes) -> bytes:
    return nested(LinkPart.INFO, attribute(InfoPart.KIND, kind), nested(InfoPart.DATA, *parts))
