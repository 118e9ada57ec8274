"""One question to one upstream: over UDP, and over TCP where the answer did not fit."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

from netoverlay.dns.limits import Limits
from netoverlay.dns.message import AD, CD, HEADER, NOERROR, NXDOMAIN, RD, Malformed, Query, opt_record
from netoverlay.dns.response import Response, read_response

_MAX = 65_535


class Opens(Protocol):
    """What the name server needs of a network namespace (netns.Namespace has it): sockets inside it."""

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket: ...


class Upstream(Struct, frozen=True, kw_only=True):
    """A name server at `address`, as seen from `namespace`; None is the daemon's own, the host's."""

    address: str
    namespace: Opens | None = None


async def exchange(upstream: Upstream, query: Query, limits: Limits) -> Response:
    """Its answer, whatever that says. OSError (TimeoutError too) or Malformed where there is none.

    Off-path forgery has to guess the id and the port that the kernel chose for this one question (RFC 5452);
    the socket is connected, so only the upstream's address is heard.
    """
    ident = secrets.randbits(16)
    request = _request(ident, query)
    async with asyncio.timeout(limits.timeout):
        response = await _over_udp(upstream, request, ident, query, limits)
        if response.truncated:
            # Part of an answer is better than none: the client sees that it is a part.
            with suppress(ConnectionError, Malformed):
                response = await _over_tcp(upstream, request, ident, query, limits)
    return response


def _request(ident: int, query: Query) -> bytes:
    """The client's question and nothing else of it: its cookies and options are between it and us."""
    opt = opt_record(query)
    header = HEADER.pack(ident, query.flags & (RD | CD | AD), 1, 0, 0, bool(opt))
    return header + query.question + opt


async def _over_udp(upstream: Upstream, request: bytes, ident: int, query: Query, limits: Limits) -> Response:
    loop = asyncio.get_running_loop()
    with await _connected(upstream, socket.SOCK_DGRAM, limits.port) as sock:
        timer: asyncio.TimerHandle | None = None

        def again() -> None:
            nonlocal timer
            with suppress(OSError):  # what is wrong, receiving says too
                sock.send(request)
            timer = loop.call_later(limits.resend, again)

        again()
        try:
            while True:
                found = _ours(await loop.sock_recv(sock, _MAX), ident, query)
                if found is not None:
                    return found
        finally:
            if timer is not None:
                timer.cancel()


async def _over_tcp(upstream: Upstream, request: bytes, ident: int, query: Query, limits: Limits) -> Response:
    loop = asyncio.get_running_loop()
    with await _connected(upstream, socket.SOCK_STREAM, limits.port) as sock:
        await loop.sock_sendall(sock, struct.pack("!H", len(request)) + request)
        (length,) = struct.unpack("!H", await _exactly(loop, sock, 2))
        found = _ours(await _exactly(loop, sock, length), ident, query)
        if found is None:
            raise Malformed("not a whole answer to this question")
        return found


async def _exactly(loop: asyncio.AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = await loop.sock_recv(sock, size)
        if not part:
            raise ConnectionResetError("the upstream ended the connection")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _ours(message: bytes, ident: int, query: Query) -> Response | None:
    """None: not a whole answer to this question, so there is still one to wait for."""
    if len(message) < HEADER.size or message[:2] != ident.to_bytes(2, "big"):
        return None
    try:
        response = read_response(message)
    except Malformed:
        return None
    if not response.question and response.code not in (NOERROR, NXDOMAIN):
        return response  # servers that cannot read a question do not repeat it either
    asked, heard = query.question, response.question
    same = heard[-4:] == asked[-4:] and heard[:-4].lower() == asked[:-4].lower()
    return response if same else None


async def _connected(upstream: Upstream, kind: int, port: int) -> socket.socket:
    address, _, zone = upstream.address.partition("%")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    if upstream.namespace is None:
        sock = socket.socket(family, kind)
    else:
        sock = await _inside(upstream.namespace, family, kind)
    try:
        sock.setblocking(False)
        target: tuple[str, int] | tuple[str, int, int, int] = (address, port)
        if zone:
            index = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone)
            target = (address, port, 0, index)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def _inside(namespace: Opens, family: int, kind: int) -> socket.socket:
    """In a thread: namespaces are entered one after the other, and the queue may be long."""
    opening = asyncio.get_running_loop().run_in_executor(None, namespace.socket, family, kind)
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise


def _close(opened: asyncio.Future[socket.socket]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        opened.result().close()
