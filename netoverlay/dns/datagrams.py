"""The UDP socket of one container: as many questions as are there, answered in one wake-up of the loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from typing import Any

from netoverlay.dns.resolver import Resolver

log = logging.getLogger(__name__)

# Of one container before the others have their turn. Measured: a wake-up for each datagram, as asyncio's own
# transports have it, makes a sixth of the answers.
_AT_ONCE = 64
_MAX_QUESTION = 4096  # with padding, RFC 8467; what is longer arrives cut and is refused as malformed


class Datagrams:
    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, resolver: Resolver) -> None:
        self._loop, self._sock, self._resolver = loop, sock, resolver
        self._loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        # Everything that a question costs twice is a local name here: this loop is the name server's speed.
        receive, send = self._sock.recvfrom, self._sock.sendto
        resolver = self._resolver
        ready, answered = resolver.ready, 0
        try:
            for _ in range(_AT_ONCE):
                message, sender = receive(_MAX_QUESTION)
                bodies = ready.get(message[2:])
                if bodies is not None and (body := next(bodies, None)) is not None:
                    answered += 1
                    send(message[:2] + body, sender)
                elif answer := resolver.answer(message, False, partial(self._later, sender)):
                    send(answer, sender)
        except BlockingIOError:
            pass  # read empty; or the client's buffer is full, and it asks again
        except OSError as error:
            log.debug("datagram lost", extra={"error": repr(error)})
        resolver.counters.queries += answered

    def _later(self, sender: Any, answer: bytes) -> None:
        if self._sock.fileno() < 0:
            return  # the container went away meanwhile
        try:
            self._sock.sendto(answer, sender)
        except OSError as error:
            log.debug("answer lost", extra={"error": repr(error)})

    def close(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()
