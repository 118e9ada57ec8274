"""Answers the probes of other nodes: echoes what knows the check's token, nothing else, until it is closed.

Nobody can use it against a third: a datagram's answer is as long as itself and goes to a sender that knows the
token, and a connection carries at most what a check needs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from array import array
from collections.abc import Collection
from hashlib import blake2b
from ipaddress import ip_address
from typing import Protocol

from swarmcore.aio import Tasks
from swarmcore.rpc.messages.check import Listening

log = logging.getLogger(__name__)

TOKEN = 16
LENGTH = 8
MOST = 16 << 20  # bytes that one TCP exchange may have
CHUNK = 128 << 10
_DATAGRAMS = 64  # answered per wake-up, so that a flood leaves the loop to others
_CONNECTIONS = 4096


class Opens(Protocol):
    """A network namespace as probes need it."""

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket: ...


def token_of(check_id: str) -> bytes:
    """What every probe of the check begins with."""
    return blake2b(check_id.encode(), digest_size=TOKEN).digest()


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6


def datagram(token: bytes, sender: str, size: int) -> bytes:
    """A probe of `size` bytes, or of as many as it needs: token, sender's name, then a pattern."""
    head = token + bytes([len(sender)]) + sender.encode()
    return head + pattern(max(0, size - len(head)))


def pattern(size: int) -> bytes:
    """Bytes in which no piece looks like another: what is damaged, missing or moved shows."""
    words = array("I", range(size // 4 + 1))
    if sys.byteorder == "little":
        words.byteswap()
    return words.tobytes()[:size]


async def open_socket(namespace: Opens, family: int, kind: int, proto: int = 0) -> socket.socket:
    """A non-blocking socket; opened by a thread, because the namespaces' own may be busy with something else."""
    opening = asyncio.get_running_loop().run_in_executor(None, namespace.socket, family, kind, proto)
    try:
        opened = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_discard)  # nobody will take it any more
        raise
    opened.setblocking(False)
    return opened


def _discard(opening: asyncio.Future[socket.socket]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class ProbeListener:
    """One party's sockets in one namespace. `open` may fail; `close` leaves nothing behind, idempotent."""

    def __init__(self, namespace: Opens, token: bytes, known: Collection[str] = ()) -> None:
        self._namespace = namespace
        self._token = token
        self._known = frozenset(known)
        self._tasks = Tasks()
        self._sockets: list[socket.socket] = []
        self._datagrams: list[socket.socket] = []
        self._connections: set[socket.socket] = set()
        self.heard: set[str] = set()

    async def open(self, addresses: Collection[str]) -> tuple[Listening, ...]:
        """OSError with the address in its message where the namespace has no such address."""
        found = []
        for address in addresses:
            tcp = await self._bound(address, socket.SOCK_STREAM)
            tcp.listen(1024)
            self._tasks.start(self._accept(tcp), f"probes at {address}")
            udp = await self._bound(address, socket.SOCK_DGRAM)
            self._datagrams.append(udp)
            asyncio.get_running_loop().add_reader(udp, self._answer, udp)
            found.append(Listening(address=address, tcp=tcp.getsockname()[1], udp=udp.getsockname()[1]))
        return tuple(found)

    async def _bound(self, address: str, kind: int) -> socket.socket:
        opened = await open_socket(self._namespace, family_of(address), kind)
        self._sockets.append(opened)
        try:
            opened.bind((address, 0))
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from None
        return opened

    def knows(self, node_ids: Collection[str]) -> None:
        """Who may be heard: `heard` cannot be filled by anybody else."""
        self._known = frozenset(node_ids)
        self.heard &= self._known

    def _answer(self, udp: socket.socket) -> None:
        for _ in range(_DATAGRAMS):
            try:
                message, sender = udp.recvfrom(65535)
            except BlockingIOError:
                return
            except OSError:
                continue  # an earlier answer's ICMP error: this listener goes on
            if len(message) <= TOKEN or message[:TOKEN] != self._token:
                continue
            name = message[TOKEN + 1 : TOKEN + 1 + message[TOKEN]].decode(errors="replace")
            if not self._known or name in self._known:
                self.heard.add(name)
            try:
                udp.sendto(message, sender)
            except OSError:
                continue  # the way back is closed: the prober sees that

    async def _accept(self, tcp: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(tcp)
            except ConnectionError:
                continue  # the peer has gone before it was accepted
            except OSError as error:
                log.warning("no more probes are accepted", extra={"reason": str(error)})
                return
            if len(self._connections) >= _CONNECTIONS:
                connection.close()
                continue
            self._connections.add(connection)
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._tasks.start(self._serve(connection), "probe connection")

    async def _serve(self, connection: socket.socket) -> None:
        """Exchanges one after another, until the peer closes or says what no check says."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                head = await exactly(connection, TOKEN + LENGTH)
                left = int.from_bytes(head[TOKEN:], "big")
                if head[:TOKEN] != self._token or left > MOST:
                    return
                while left:
                    piece = await loop.sock_recv(connection, min(left, CHUNK))
                    if not piece:
                        return
                    left -= len(piece)
                    await loop.sock_sendall(connection, piece)
                    await asyncio.sleep(
                        0
                    )  # where all is ready at once, the rest of the daemon has its turn too
        except (OSError, EOFError):
            return  # the peer closed it, or gave up
        finally:
            self._connections.discard(connection)
            connection.close()

    async def close(self) -> None:
        for udp in self._datagrams:
            asyncio.get_running_loop().remove_reader(udp)
        self._datagrams.clear()
        try:
            await self._tasks.close()
        finally:  # also where whoever closes is told to hurry
            for each in (*self._sockets, *self._connections):
                each.close()
            self._sockets.clear()
            self._connections.clear()


async def exactly(connection: socket.socket, size: int) -> bytes:
    """EOFError where the peer closes before."""
    got = b""
    while len(got) < size:
        piece = await asyncio.get_running_loop().sock_recv(connection, size - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got
