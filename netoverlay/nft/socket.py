"""One namespace's nftables socket: batches that the kernel carries out whole or not at all, dumps, the generation.

Blocking, but the kernel does all the work within the call that sends. Safe for several threads.
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from netoverlay.netlink import wire
from netoverlay.netlink.exchange import NetlinkSocket, Request
from netoverlay.netlink.wire import Message, NetlinkError, attribute, nested
from netoverlay.nft.batch import FIRST, Encoded
from netoverlay.nft.types import Element
from netoverlay.nft.wire import (
    SUBSYSTEM,
    Call,
    ElementsAttribute,
    Family,
    RuleAttribute,
    body_attributes,
    header,
    unpack_number,
)

_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_ROOM = 1 << 25  # bytes, an upper limit only: a batch is one datagram, and its echoes are as large
_DATAGRAM = 1 << 17
_GENERATION_ID = 1  # NFTA_GEN_ID


class NftError(NetlinkError):
    """The kernel refused a batch: nothing of it was done. ENOBUFS: it may have been done, the answers are lost."""


class Committed(NamedTuple):
    """`handles` of the rules that were written, in their order; the `generation` that the batch made."""

    handles: tuple[int, ...]
    generation: int


class NftSocket(NetlinkSocket):
    """Takes over `sock` (NETLINK_NETFILTER, of any namespace), which `close()` closes."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)

    def generation(self) -> int:
        """A number that each change of any table in the namespace makes larger."""
        return _generation(self.ask(request(Call.GETGEN, Family.ANY, b"", "get the generation")))

    def has_element(self, family: Family, table: str, name: str, key: bytes) -> bool:
        """Whether the set holds the key. False also where there is no such set."""
        body = (
            attribute(ElementsAttribute.TABLE, table)
            + attribute(ElementsAttribute.SET, name)
            + nested(ElementsAttribute.LIST, Element(key).encode())
        )
        try:
            self.ask(request(Call.GETSETELEM, family, body, f"look into set {name}"))
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def commit(self, batch: Encoded) -> Committed:
        """Carry out all of it. NftError, with the message that the kernel did not like, if nothing was done."""
        with self._lock:
            self._discard_stale()
            self._socket.send(batch.data)
            try:
                return self._answers_to(batch)
            except BlockingIOError:  # SO_RCVTIMEO
                raise NftError(errno.ETIMEDOUT, "the kernel did not answer", "batch") from None
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._discard_stale()  # else the full buffer would lose the next answers too
                raise NftError(errno.ENOBUFS, "the answers were lost", "batch") from None

    def _answers_to(self, batch: Encoded) -> Committed:
        handles: list[int] = []
        generation = 0
        failed: NftError | None = None
        while True:
            for answer in wire.messages(self._socket.recv(_DATAGRAM)):
                if not FIRST <= answer.sequence <= batch.last + 1:
                    continue  # the late answer to a dump that was given up
                if answer.kind == SUBSYSTEM | Call.NEWRULE:
                    found = body_attributes(answer.body)
                    handles.append(int.from_bytes(found[RuleAttribute.HANDLE], "big"))
                elif answer.kind == SUBSYSTEM | Call.NEWGEN:
                    generation = _generation(answer)
                elif answer.kind == wire.ERROR:
                    failed = failed or _failure(answer, batch)
                    # An error of the beginning is one of the batch as a whole: no other follows.
                    if answer.sequence in (FIRST, batch.last):
                        if failed is not None:
                            raise failed
                        return Committed(tuple(handles), generation)

    def _discard_stale(self) -> None:
        """What an exchange that was given up left behind: sequence numbers of batches repeat."""
        while True:
            try:
                self._socket.recv(_DATAGRAM, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


def request(call: Call, family: Family, body: bytes, what: str, flags: int = 0) -> Request:
    return Request(SUBSYSTEM | call, flags, header(family) + body, what)


def _generation(answer: Message) -> int:
    return unpack_number(body_attributes(answer.body)[_GENERATION_ID])


def _failure(answer: Message, batch: Encoded) -> NftError | None:
    code, text = wire.error_in(answer)
    if not code:
        return None
    place = answer.sequence - FIRST - 1
    what = batch.what[place] if 0 <= place < len(batch.what) else "batch"
    return NftError(code, text, what, place)
