"""The TCP socket of one container (RFC 7766): many questions on a connection, answered as they are known.

By hand on the loop's readers, as the UDP socket: answers to what arrived together leave together, and a
container that goes away is gone at once.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from netoverlay.dns.limits import Limits
from netoverlay.dns.resolver import Resolver

log = logging.getLogger(__name__)

_READ = 1 << 16
_ENOUGH = 1 << 16  # bytes of answers that are sent before more questions are looked at
_AT_ONCE = 256  # questions of one connection before others have their turn
_ACCEPTS = 16
_PAUSE = 1.0  # seconds


class Streams:
    """Accepts, up to `limits.connections`; the oldest is closed for a new one beyond that."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, resolver: Resolver, limits: Limits
    ) -> None:
        self._loop, self._sock, self._resolver, self._limits = loop, sock, resolver, limits
        self._connections: dict[Connection, None] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._accept()

    def _accept(self) -> None:
        self._loop.add_reader(self._sock, self._acceptable)

    def _acceptable(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, _address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                # Out of descriptors, most likely: what waits would wake us up without end.
                log.warning("cannot accept a connection to the name server", extra={"error": repr(error)})
                self._loop.remove_reader(self._sock)
                self._pause = self._loop.call_later(_PAUSE, self._accept)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._resolver.counters.connections += 1
            if len(self._connections) >= self._limits.connections:
                next(iter(self._connections)).close()
            connection = Connection(self._loop, sock, self._resolver, self._limits, self._ended)
            self._connections[connection] = None

    def _ended(self, connection: Connection) -> None:
        self._connections.pop(connection, None)

    def close(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)
        self._sock.close()
        for connection in list(self._connections):
            connection.close()


class Connection:
    """Reads only while it can write and not too many of its questions are under way to upstreams."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        resolver: Resolver,
        limits: Limits,
        ended: Callable[[Connection], None],
    ) -> None:
        self._loop, self._sock, self._resolver = loop, sock, resolver
        self._limits, self._ended = limits, ended
        self._input, self._output = b"", b""
        self._outstanding = 0
        self._reading = self._writing = self._no_more = False
        self._again: asyncio.Handle | None = None
        self._active = self._loop.time()
        self._timer = self._loop.call_later(limits.idle, self._idle)
        self._settle()

    def _busy(self) -> bool:
        return bool(self._output) or self._outstanding >= self._limits.outstanding

    def _readable(self) -> None:
        try:
            found = self._sock.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            self.close()  # reset by the client
            return
        if not found:
            self._no_more = True  # it may still read: what is under way is answered
        self._input += found
        self._active = self._loop.time()
        self._advance()

    def _advance(self) -> None:
        """Answer what has arrived as a whole."""
        self._again = None
        offset, answers, size = 0, [], 0
        data = self._input
        for _ in range(_AT_ONCE):
            if size >= _ENOUGH or self._busy():
                break
            end = offset + 2 + int.from_bytes(data[offset : offset + 2], "big")
            if len(data) < offset + 2 or len(data) < end:
                break
            message, offset = data[offset + 2 : end], end
            answer = self._resolver.answer(message, True, self._later)
            if answer is None:
                self._outstanding += 1
            elif answer:
                answers.append(len(answer).to_bytes(2, "big") + answer)
                size += len(answer)
        self._input = data[offset:]
        self._send(b"".join(answers))
        self._settle()

    def _whole(self) -> bool:
        """Whether a whole question waits."""
        data = self._input
        return len(data) >= 2 and len(data) >= 2 + int.from_bytes(data[:2], "big")

    def _later(self, answer: bytes) -> None:
        self._outstanding -= 1
        if self._sock.fileno() < 0:
            return
        self._active = self._loop.time()
        self._send(len(answer).to_bytes(2, "big") + answer)
        self._settle()

    def _send(self, data: bytes) -> None:
        if not self._output and data:
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass  # the loop says when
            except OSError:
                self.close()
                return
        self._output += data

    def _writable(self) -> None:
        data, self._output = self._output, b""
        self._active = self._loop.time()
        self._send(data)
        self._settle()

    def _settle(self) -> None:
        """Watch for what is possible now."""
        if self._sock.fileno() < 0:
            return
        if bool(self._output) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._sock, self._writable)
            else:
                self._loop.remove_writer(self._sock)
        more = self._whole() and not self._busy()
        if more and self._again is None:
            self._again = self._loop.call_soon(self._advance)
        reading = not (self._no_more or more or self._busy())
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._loop.add_reader(self._sock, self._readable)
            else:
                self._loop.remove_reader(self._sock)
        if self._no_more and not (more or self._output or self._outstanding):
            self.close()

    def _idle(self) -> None:
        left = self._active + self._limits.idle - self._loop.time()
        # While we owe answers it is not the client who is idle; that ends by the upstreams' own time-outs.
        if self._outstanding and not self._output:
            left = max(left, self._limits.idle)
        if left > 0:
            self._timer = self._loop.call_later(left, self._idle)
        else:
            self.close()

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        self._timer.cancel()
        if self._again is not None:
            self._again.cancel()
        if self._reading:
            self._loop.remove_reader(self._sock)
        if self._writing:
            self._loop.remove_writer(self._sock)
        self._sock.close()
        self._ended(self)
