"""The kernel's routing half of one namespace: commit batches of changes, list what is there.

batch = RouteBatch()
batch.make_link(Bridge("br0", mtu=1450))
batch.put_route(Route("10.0.0.0/8", gateway="192.0.2.1"))
namespace.route.commit(batch)
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Collection
from socket import AF_INET, AF_INET6, AF_UNSPEC
from typing import TypeVar

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.exchange import NetlinkSocket, Request
from netoverlay.netlink.links import link_head
from netoverlay.netlink.numbers import (
    AF_BRIDGE,
    SKIP_STATISTICS,
    LinkPart,
    NeighbourPart,
    RoutePart,
    Table,
    Verb,
)
from netoverlay.netlink.records import (
    Address,
    Forwarding,
    Link,
    Neighbour,
    read_address,
    read_forwarding,
    read_link,
    read_neighbour,
)
from netoverlay.netlink.routing import Route, Rule, read_route, read_rule
from netoverlay.netlink.wire import Message, NetlinkError, attribute

_PEER_HEAD = struct.Struct("=B3xiHBB")
_WITHOUT_STATISTICS = attribute(LinkPart.EXT_MASK, SKIP_STATISTICS)
T = TypeVar("T")


class RouteSocket:
    """Takes over a NETLINK_ROUTE socket. Blocking for microseconds; safe for several threads, one at a time.

    Every method raises NetlinkError, an OSError with the kernel's errno and explanation.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._netlink = NetlinkSocket(sock, strict=True)

    @property
    def port(self) -> int:
        """The number by which the kernel's notices name this socket as their cause."""
        return self._netlink.port

    def close(self) -> None:
        self._netlink.close()

    def commit(self, batch: RouteBatch, ignore: Collection[int] = ()) -> None:
        """Carry the queue out in order and empty it. Raises the first error whose errno is not in `ignore`; what comes
        after a failure is carried out all the same."""
        queue, batch.requests = batch.requests, []
        self._netlink.transact(queue, ignore)

    def link(self, device: int | str) -> Link | None:
        """One device by index or name, None where it is not there."""
        if isinstance(device, str):
            body = link_head(0, None) + attribute(LinkPart.NAME, device)
        else:
            body = link_head(device, None)
        body += _WITHOUT_STATISTICS
        try:
            answer = self._netlink.ask(Request(Verb.GET_LINK, 0, body, f"find {device}"))
        except NetlinkError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        return read_link(answer.body)

    def links(self) -> list[Link]:
        body = link_head(0, None) + _WITHOUT_STATISTICS
        return self._list(Verb.GET_LINK, body, "list links", read_link)

    def addresses(self, index: int = 0, family: int = AF_UNSPEC) -> list[Address]:
        """Of one device, or (0) of all; of one family, or of both."""
        body = struct.pack("=BBBBI", family, 0, 0, 0, index)
        return self._list(Verb.GET_ADDRESS, body, "list addresses", read_address)

    def routes(self, table: int = Table.MAIN, family: int = AF_UNSPEC) -> list[Route]:
        """Of one table (0: of all), of one family or of both."""
        families = (family,) if family else (AF_INET, AF_INET6)
        return [each for one in families for each in self._routes(table, one)]

    def _routes(self, table: int, family: int) -> list[Route]:
        body = struct.pack("=8BI", family, 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0)
        if table:
            body += attribute(RoutePart.TABLE, table)
        try:
            found = self._list(Verb.GET_ROUTE, body, "list routes", read_route)
        except NetlinkError as error:
            if error.errno == errno.ENOENT:  # a table that never had a route does not exist
                return []
            raise
        return [each for each in found if not table or each.table == table]

    def rules(self, family: int = AF_UNSPEC) -> list[Rule]:
        families = (family,) if family else (AF_INET, AF_INET6)
        bodies = [struct.pack("=8BI", one, 0, 0, 0, 0, 0, 0, 0, 0) for one in families]
        return [rule for body in bodies for rule in self._list(Verb.GET_RULE, body, "list rules", read_rule)]

    def neighbours(self, index: int = 0) -> list[Neighbour]:
        """Of one device, or (0) of all; both families."""
        body = _PEER_HEAD.pack(AF_UNSPEC, 0, 0, 0, 0)
        if index:
            body += attribute(NeighbourPart.DEVICE, index)
        found = self._list(Verb.GET_NEIGHBOUR, body, "list neighbours", read_neighbour)
        return [each for each in found if each is not None]

    def fdb(self, index: int = 0) -> list[Forwarding]:
        """Forwarding entries of one device, or (0) of all: a VXLAN's own and those of the bridge it is a port of."""
        body = _PEER_HEAD.pack(AF_BRIDGE, 0, 0, 0, 0)
        if index:
            body += attribute(NeighbourPart.DEVICE, index)
        found = self._list(Verb.GET_NEIGHBOUR, body, "list forwarding entries", read_forwarding)
        return [each for each in found if not index or each.index == index]

    def _list(self, kind: int, body: bytes, what: str, read: Callable[[bytes], T]) -> list[T]:
        answers: list[Message] = self._netlink.dump(Request(kind, 0, body, what))
        return [read(answer.body) for answer in answers]
