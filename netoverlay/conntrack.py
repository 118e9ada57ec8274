"""Connection tracking through ctnetlink (linux/netfilter/nfnetlink_conntrack.h): which flows there are; forgetting."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Collection
from socket import AF_INET, AF_INET6, AF_UNSPEC, IPPROTO_TCP, IPPROTO_UDP
from typing import NamedTuple, Protocol

from netoverlay.netlink.exchange import NetlinkSocket, Request
from netoverlay.netlink.wire import Message, attribute, attributes, nested, pack_address, unpack_address

_GET, _DELETE, _STATISTICS = 0x101, 0x102, 0x105  # NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_*
_ENTRIES = 1  # CTA_STATS_GLOBAL_ENTRIES
_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_STATE, _ID, _ZONE = 1, 2, 3, 4, 12, 18  # CTA_*
_ADDRESSES, _PORTS = 1, 2  # CTA_TUPLE_IP, CTA_TUPLE_PROTO
_TARGET_PORT = 3  # CTA_PROTO_DST_PORT
_DNAT = 1 << 5  # IPS_DST_NAT
_SAME_FLOW = (_ORIGINAL, _ZONE, _ID)
# Open on at least one side, or about to be: SYN_RECV, ESTABLISHED, FIN_WAIT and CLOSE_WAIT of TCP_CONNTRACK_*.
_LIVE = (2, 3, 4, 5)
# The last FIN is not acknowledged: FIN_WAIT and LAST_ACK.
_ENDING = (4, 6)


class Flow(NamedTuple):
    """One tracked flow. `target` is where its first packet was sent, `answers` who answers (after translation).

    `tcp_state` is TCP_CONNTRACK_*, 0 for what is not TCP. `identity` is what the kernel finds it by.
    """

    protocol: int
    source: str
    target: str
    answers: str
    translated: bool
    tcp_state: int
    identity: bytes
    family: int
    port: int = 0  # of the target, where the protocol has ports


class ConntrackSocket(NetlinkSocket):
    """Takes over `sock` (NETLINK_NETFILTER, of any namespace), which `close()` closes."""

    def flows(self, addresses: Collection[str]) -> list[Flow]:
        """Those with one of the addresses as their target or as who answers."""
        packed = [pack_address(each) for each in addresses]
        names = {unpack_address(address) for _, address in packed}
        contains = _search([address for _, address in packed])
        families = {kind for kind, _ in packed}
        flows = (_flow(each.body) for each in self._tracked(families) if contains(each.body))
        return [each for each in flows if each.target in names or each.answers in names]

    def _tracked(self, families: Collection[int] = (AF_INET, AF_INET6)) -> list[Message]:
        """All flows of the namespace. One dump at most, and none where there are none: the kernel has one hash table
        for all namespaces and walks the whole of it each time, for milliseconds."""
        if not families or not self._count():
            return []
        family = next(iter(families)) if len(families) == 1 else AF_UNSPEC
        return self.dump(Request(_GET, 0, _header(family), "read the tracked flows"))

    def _count(self) -> int:
        """How many flows the namespace has."""
        answer = self.ask(Request(_STATISTICS, 0, _header(AF_UNSPEC), "count the tracked flows"))
        return int.from_bytes(attributes(answer.body, 4)[_ENTRIES], "big")

    def flows_to_ports(self, ports: Collection[int]) -> list[Flow]:
        """Those whose first packet was sent to one of the ports, over whatever protocol."""
        contains = _search([attribute(_TARGET_PORT, struct.pack("!H", each)) for each in ports])
        found = (_flow(each.body) for each in self._tracked() if contains(each.body))
        return [each for each in found if each.port in ports]

    def forget(self, flows: Collection[Flow]) -> None:
        """Those that ended meanwhile are no error; one that took the place of another stays."""
        requests = [
            Request(_DELETE, 0, _header(each.family) + each.identity, "forget a flow") for each in flows
        ]
        if requests:
            self.transact(requests, ignore=(errno.ENOENT,))


class Tracking(Protocol):
    """A place whose flows the kernel tracks: a network namespace, of which no more is needed here."""

    @property
    def conntrack(self) -> ConntrackSocket: ...


def live_connections(namespace: Tracking, addresses: Collection[str]) -> int:
    """How many TCP connections to or answered by one of the addresses are open, or answered and about to be."""
    return sum(
        each.protocol == IPPROTO_TCP and each.tcp_state in _LIVE
        for each in namespace.conntrack.flows(addresses)
    )


def ending_connections(namespace: Tracking, addresses: Collection[str]) -> int:
    """How many TCP connections to or from one of the addresses have an end that the other side has not heard of."""
    return sum(
        each.protocol == IPPROTO_TCP and each.tcp_state in _ENDING
        for each in namespace.conntrack.flows(addresses)
    )


def forget_translated(namespace: Tracking, addresses: Collection[str]) -> int:
    """Forget the flows whose target was translated to one of the addresses; how many they were."""
    wanted = {unpack_address(pack_address(each)[1]) for each in addresses}
    flows = [each for each in namespace.conntrack.flows(wanted) if each.translated and each.answers in wanted]
    namespace.conntrack.forget(flows)
    return len(flows)


def forget_untranslated(namespace: Tracking, ports: Collection[int]) -> int:
    """Forget the UDP flows to these ports whose target was not translated; how many they were.

    Who sends from one port all the time has a flow from before there was a translation, and would never meet it.
    """
    flows = [
        each
        for each in namespace.conntrack.flows_to_ports(ports)
        if not each.translated and each.protocol == IPPROTO_UDP
    ]
    namespace.conntrack.forget(flows)
    return len(flows)


def _header(family: int) -> bytes:
    return struct.pack("!BBH", family, 0, 0)  # struct nfgenmsg


def _search(addresses: Collection[bytes]) -> Callable[[bytes], bool]:
    """Whether any is somewhere in a message: reading all of a hundred thousand flows would take seconds."""
    if len(addresses) > 64:
        return lambda body: True
    return lambda body: any(each in body for each in addresses)


def _flow(body: bytes) -> Flow:
    found = attributes(body, 4)
    original, reply = attributes(found[_ORIGINAL]), attributes(found[_REPLY])
    to, back = attributes(original[_ADDRESSES]), attributes(reply[_ADDRESSES])
    first = 1 if 1 in to else 3  # CTA_IP_V4_SRC or CTA_IP_V6_SRC, each followed by DST
    inner = attributes(attributes(found.get(_PROTOCOL_STATE, b"")).get(1, b""))  # CTA_PROTOINFO_TCP
    return Flow(
        protocol=attributes(original[_PORTS])[1][0],
        source=unpack_address(to[first]),
        target=unpack_address(to[first + 1]),
        answers=unpack_address(back[first]),
        translated=bool(int.from_bytes(found.get(_STATUS, b""), "big") & _DNAT),
        tcp_state=inner.get(1, b"\0")[0],  # CTA_PROTOINFO_TCP_STATE
        identity=b"".join(
            nested(kind, found[kind]) if kind == _ORIGINAL else attribute(kind, found[kind])
            for kind in _SAME_FLOW
            if kind in found
        ),
        family=body[0],
        port=int.from_bytes(attributes(original[_PORTS]).get(_TARGET_PORT, b""), "big"),
    )
