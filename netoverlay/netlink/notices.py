"""The kernel's notices of changes in one namespace: whether anybody but us touched it since we last looked.

Comparing thousands of entries every two seconds costs more than carrying their traffic; reading that nothing was said
costs one system call.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Collection

from netoverlay.netlink import wire
from netoverlay.netlink.numbers import AF_BRIDGE, Group, NeighbourMark, NeighbourState, Verb
from netoverlay.netlink.records import Forwarding, read_forwarding
from netoverlay.netlink.wire import Message

_NEIGHBOUR = struct.Struct("=B3xiHBB")  # struct ndmsg
_NEW, _DELETED = int(Verb.NEW_NEIGHBOUR), int(Verb.DELETE_NEIGHBOUR)
_SELF, _PERMANENT = int(NeighbourMark.SELF), int(NeighbourState.PERMANENT)
_DATAGRAM = 1 << 16
_SO_RCVBUFFORCE, _ROOM = 33, 1 << 22


class Notices:
    """Takes over a NETLINK_ROUTE socket, which `close()` closes."""

    def __init__(self, sock: socket.socket, groups: Group) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        sock.bind((0, groups))
        self._socket = sock

    def close(self) -> None:
        self._socket.close()

    def clear(self) -> None:
        """Forget what was said until now."""
        self.touched((), lambda entry, gone: False)

    def touched(self, own_ports: Collection[int], is_news: Callable[[Forwarding, bool], bool]) -> bool:
        """Whether something changed since the last call that none of our sockets (`own_ports`) changed.

        Forwarding entries of VXLAN devices come without their cause: `is_news(entry, gone)` decides on them. What a
        bridge learns and the states of neighbours that no entry of ours is about do not count.
        """
        found = False
        while True:
            try:
                data = self._socket.recv(_DATAGRAM)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                found = True  # there was more than the socket could hold
                continue
            found = found or any(_matters(each, own_ports, is_news) for each in wire.messages(data))


def _matters(
    notice: Message, own_ports: Collection[int], is_news: Callable[[Forwarding, bool], bool]
) -> bool:
    if notice.kind in (_NEW, _DELETED):
        family, _, state, marks, _ = _NEIGHBOUR.unpack_from(notice.body)
        if family == AF_BRIDGE:
            gone = notice.kind == _DELETED
            return bool(marks & _SELF) and is_news(read_forwarding(notice.body), gone)
        # The kernel's own doings (port 0) are the gateways' neighbours, which come and go with their traffic.
        return notice.port not in own_ports and (notice.port != 0 or bool(state & _PERMANENT))
    return notice.port not in own_ports
