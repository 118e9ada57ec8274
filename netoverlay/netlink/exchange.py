"""One netlink socket: requests in batches, dumps, and the errors of both. Blocking, but the kernel never lets wait.

The kernel carries a request out within the system call that sends it, so that the answer is there when the call
returns. Safe for several threads: one exchange at a time.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from threading import Lock
from typing import NamedTuple

from netoverlay.netlink import wire
from netoverlay.netlink.wire import Message, NetlinkError

_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK, STRICT = 10, 11, 12  # NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
_SO_RCVBUFFORCE = 33
_ROOM = 1 << 22  # bytes: the errors of a whole batch fit, each is a buffer of its own in the kernel
_PATIENCE = struct.pack("@ll", 10, 0)  # struct timeval
_DATAGRAM = 1 << 16
_AT_ONCE = 250  # messages in one send: measured, more gain nothing
_TRIES = 5


class Request(NamedTuple):
    kind: int
    flags: int
    body: bytes
    what: str  # in errors


class NetlinkSocket:
    """Takes over `sock` (AF_NETLINK, of any family and namespace), which `close()` closes."""

    def __init__(self, sock: socket.socket, strict: bool = False) -> None:
        sock.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        if strict:
            sock.setsockopt(_SOL_NETLINK, STRICT, 1)  # dumps are filtered by the kernel
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _PATIENCE)
        sock.bind((0, 0))
        self._socket = sock
        self._sequence = 0
        self._lock = Lock()

    @property
    def port(self) -> int:
        """The number by which the kernel's notices name this socket as their cause."""
        return int(self._socket.getsockname()[0])

    def close(self) -> None:
        self._socket.close()

    def transact(self, requests: Sequence[Request], ignore: Collection[int] = ()) -> None:
        """Carry all of them out, in order. NetlinkError for the first that failed with an errno not in `ignore`;
        the others were carried out all the same."""
        with self._lock:
            failed: NetlinkError | None = None
            for start in range(0, len(requests), _AT_ONCE):
                failure = self._some(requests[start : start + _AT_ONCE], start, ignore)
                failed = failed or failure
        if failed is not None:
            raise failed

    def _some(self, requests: Sequence[Request], start: int, ignore: Collection[int]) -> NetlinkError | None:
        first, last = self._sequence + 1, self._sequence + len(requests)
        self._sequence = last
        parts: list[bytes] = []
        for sequence, (kind, flags, body, _) in enumerate(requests, first):
            # Errors are always told. Two thousand acknowledgements would overrun the socket.
            flags |= wire.REQUEST | (wire.ACK if sequence == last else 0)
            parts += wire.HEADER.pack(16 + len(body), kind, flags, sequence, 0), body
            if len(body) & 3:
                parts.append(bytes(-len(body) & 3))
        self._socket.send(b"".join(parts))
        failed: NetlinkError | None = None
        while True:
            for answer in wire.messages(self._socket.recv(_DATAGRAM)):
                if answer.kind != wire.ERROR or not first <= answer.sequence <= last:
                    continue  # the late answer to a request that was given up
                code, text = wire.error_in(answer)
                if code and code not in ignore and failed is None:
                    place = answer.sequence - first
                    failed = NetlinkError(code, text, requests[place].what, start + place)
                if answer.sequence == last:
                    return failed

    def ask(self, request: Request) -> Message:
        """The one message that answers it, such as one object by its name."""
        with self._lock:
            for answer in self._answers(request, 0):
                if answer.kind == wire.ERROR:
                    code, text = wire.error_in(answer)
                    raise NetlinkError(code, text, request.what)
                return answer
        raise AssertionError("answers do not end")

    def dump(self, request: Request) -> list[Message]:
        """All objects of a kind. Taken again when they changed meanwhile."""
        with self._lock:
            for _ in range(_TRIES):
                found, whole = self._dump_once(request)
                if whole:
                    break
        return found

    def _dump_once(self, request: Request) -> tuple[list[Message], bool]:
        found: list[Message] = []
        whole = True
        for answer in self._answers(request, wire.DUMP):
            whole = whole and not answer.flags & wire.DUMP_INTERRUPTED
            if answer.kind in (wire.ERROR, wire.DONE):
                code, text = wire.error_in(answer)
                if code:
                    raise NetlinkError(code, text, request.what)
                break
            found.append(answer)
        return found, whole

    def _answers(self, request: Request, flags: int) -> Iterator[Message]:
        self._sequence += 1
        sequence = self._sequence
        self._socket.send(wire.message(request.kind, request.flags | flags, sequence, request.body))
        while True:
            for answer in wire.messages(self._socket.recv(_DATAGRAM)):
                if answer.sequence == sequence:
                    yield answer
