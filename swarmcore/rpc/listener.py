"""Accepts TCP connections and makes them TLS: a peer that fails the handshake costs one log line and nothing else."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable

from swarmcore.aio import Tasks
from swarmcore.errors import Conflict, Invalid
from swarmcore.rpc.refusals import Refusals

log = logging.getLogger(__name__)
HANDSHAKE_DEADLINE = 10.0
# Handshakes at a time: a flood of connections waits in the kernel's queue instead of here.
HANDSHAKES = 512
# One address cannot take all of them: slow handshakes of one peer must not lock out the others.
HANDSHAKES_OF_ONE = 256
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class TlsListener:
    """Own accept loop because asyncio's `create_server` never tells who failed a handshake."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol], refusals: Refusals) -> None:
        self._protocol = protocol
        self._refusals = refusals
        self._tasks = Tasks()
        self._busy = 0  # handshakes under way
        self._paused = False
        self._context: ssl.SSLContext | None = None
        self._later: asyncio.TimerHandle | None = None
        self._shaking: Counter[str] = Counter()  # handshakes by address
        self._unshaken: set[socket.socket] = set()  # accepted, but their handshake's task has not run yet
        self._socket: socket.socket | None = None
        self.port = 0  # the real one after `start`

    async def start(self, host: str, port: int, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise Invalid(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        family, _, _, _, address = found[0]
        try:
            self._socket = socket.create_server(address[:2], family=family, backlog=1024)
        except OSError as error:
            raise Conflict(
                f"cannot listen on {host}:{port}: {error.strerror or error}",
                "end the program that uses the address, or choose another --listen-addr",
            ) from error
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self._context = context
        self._resume()

    async def close(self) -> None:
        self._pause()
        listening, self._socket = self._socket, None  # from now on nothing resumes
        if self._later is not None:
            self._later.cancel()
        await self._tasks.close()
        for connection in self._unshaken:  # a task that is cancelled before it began cannot close anything
            connection.close()
        self._unshaken.clear()
        if listening is not None:
            listening.close()

    # A reader's callback and not `loop.sock_accept`: a task that is cancelled just then would lose the connection.
    def _resume(self) -> None:
        if self._socket is not None:
            self._paused = False
            asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def _pause(self) -> None:
        if self._socket is not None:
            self._paused = True
            asyncio.get_running_loop().remove_reader(self._socket)

    def _after_rest(self) -> None:
        self._later = None
        self._resume()

    def _accept(self) -> None:
        assert self._socket is not None and self._context is not None
        try:
            connection, address = self._socket.accept()
        except OSError as error:
            # The connection may have died in the queue; without descriptors it stays there.
            if error.errno in _OUT_OF_RESOURCES:
                log.warning("cannot accept connections yet", extra={"error": error.strerror})
                self._pause()
                self._later = asyncio.get_running_loop().call_later(1.0, self._after_rest)
            return
        connection.setblocking(False)
        self._unshaken.add(connection)
        self._busy += 1
        if self._busy >= HANDSHAKES:
            self._pause()
        self._tasks.start(self._shake_hands(connection, address[0], self._context), "rpc handshake")

    async def _shake_hands(self, connection: socket.socket, address: str, context: ssl.SSLContext) -> None:
        self._unshaken.discard(connection)
        self._shaking[address] += 1
        try:
            if self._shaking[address] > HANDSHAKES_OF_ONE:
                connection.close()
                self._refusals.note(address, "too many handshakes at a time")
                return
            tune(connection)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol,
                connection,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_DEADLINE,
                ssl_shutdown_timeout=2.0,
            )
        except ssl.SSLError as error:
            connection.close()
            self._refusals.note(address, f"TLS handshake failed: {tls_reason(error)}")
        except ConnectionAbortedError:
            connection.close()
            self._refusals.note(address, "TLS handshake took too long")
        except OSError:
            connection.close()  # it went away before it said anything: a port scan, a health probe
        finally:
            self._busy -= 1
            if self._paused and self._later is None:
                self._resume()
            self._shaking[address] -= 1
            if not self._shaking[address]:
                del self._shaking[address]


def tls_reason(error: ssl.SSLError) -> str:
    """The words of OpenSSL's reason, without numbers that differ from time to time."""
    verify = getattr(error, "verify_message", "")
    reason = (error.reason or type(error).__name__).replace("_", " ").lower()
    return f"{reason}: {verify}" if verify else reason


def tune(connection: socket.socket) -> None:
    """Small messages leave at once, and a peer that vanished is noticed within 5 s also while nothing is sent."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 2)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4_000)
