"""The single probes of a network check: each opens its socket in a namespace, has a time of its own, and closes it.

A probe never raises for what a network can do to it: that is its outcome. Small datagrams are sent three times,
because one that is lost says nothing; the large ones must come back whole and unbroken.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from swarmcore.rpc.messages.check import Outcome
from worker.checks.probe_listener import (
    CHUNK,
    LENGTH,
    Opens,
    datagram,
    exactly,
    family_of,
    open_socket,
    pattern,
)

SMALL = 64
PATIENCE = 1.3  # seconds for an answer: the second SYN goes after one
RESEND = (0.0, 0.3, 0.4)  # seconds before each datagram of three
STALLED = 1.3
LARGE_TIME = 2.6
JUMBO = 9216  # no Ethernet carries more
ENOUGH = 128 << 10  # a slow link need not carry all of a large exchange in time, but more than any window

# linux/in.h, linux/in6.h; the socket module lacks them in Python 3.11
_IP_MTU_DISCOVER, _IP_MTU, _IPV6_MTU_DISCOVER, _IPV6_MTU = 10, 14, 23, 24
_SOL_RAW, _ICMP_FILTER = 255, 1  # linux/icmp.h; ICMPV6_FILTER of linux/icmpv6.h is 1 too
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33  # asm-generic/socket.h
_REPLY4, _REPLY6 = 0, 129  # echo replies: RFC 792, RFC 4443
_DO, _PROBE = 2, 3  # never fragment; and do not believe what was learned of the path
_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)


@asynccontextmanager
async def _opened(namespace: Opens, address: str, kind: int, proto: int = 0) -> AsyncIterator[socket.socket]:
    with await open_socket(namespace, family_of(address), kind, proto) as opened:
        yield opened


def _failure(error: OSError) -> Outcome:
    if error.errno == errno.EMSGSIZE:
        return Outcome.TOO_LARGE
    if error.errno in _REFUSED:
        return Outcome.REFUSED
    if error.errno in (errno.EPERM, errno.EACCES, errno.EMFILE, errno.ENFILE):
        return Outcome.UNTESTED  # this host's own limits say nothing of the network
    return Outcome.LOST


def _unfragmented(sock: socket.socket, address: str, how: int) -> None:
    if family_of(address) == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, how)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, how)


def _headers(address: str) -> int:
    """Bytes of the IP header, and of UDP's or ICMP's, which are both 8."""
    return (20 if family_of(address) == socket.AF_INET else 40) + 8


async def route_mtu(namespace: Opens, address: str) -> int:
    """What this side's route to the address carries; 0 where there is no route."""
    try:
        async with _opened(namespace, address, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))  # nothing is sent
            if family_of(address) == socket.AF_INET:
                return sock.getsockopt(socket.IPPROTO_IP, _IP_MTU)
            return sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_MTU)
    except OSError:
        return 0


# -- UDP ---------------------------------------------------------------------------------------------
async def udp(
    namespace: Opens, address: str, port: int, token: bytes, sender: str, *, mtu: int = 0
) -> Outcome:
    """An echo of a small datagram, or with `mtu` of one that fills a packet of that size and must not be cut."""
    size = mtu - _headers(address) if mtu else SMALL
    message = datagram(token, sender, size)
    try:
        async with _opened(namespace, address, socket.SOCK_DGRAM) as sock:
            if mtu:
                _unfragmented(sock, address, _DO)
            sock.connect((address, port))
            async with asyncio.timeout(PATIENCE):
                return await _echoed(sock, message)
    except TimeoutError:
        return Outcome.LOST
    except OSError as error:
        return _failure(error)


async def _echoed(sock: socket.socket, message: bytes) -> Outcome:
    loop = asyncio.get_running_loop()
    for pause in (*RESEND[1:], PATIENCE):
        sock.send(message)
        try:
            async with asyncio.timeout(pause):
                got = await loop.sock_recv(sock, 65535)
                return Outcome.OK if got == message else Outcome.DAMAGED
        except TimeoutError:
            continue
    return Outcome.LOST


# -- TCP ---------------------------------------------------------------------------------------------
async def tcp(namespace: Opens, address: str, port: int, token: bytes, large: int) -> tuple[Outcome, Outcome]:
    """A small exchange on a new connection, and then, if that worked, one of `large` bytes each way."""
    loop = asyncio.get_running_loop()
    large_outcome = Outcome.UNTESTED
    try:
        async with _opened(namespace, address, socket.SOCK_STREAM) as sock:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_connect(sock, (address, port))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                message = pattern(SMALL)
                await loop.sock_sendall(sock, token + SMALL.to_bytes(LENGTH, "big") + message)
                small = Outcome.OK if await exactly(sock, SMALL) == message else Outcome.DAMAGED
            if small is Outcome.OK and large:
                large_outcome = await _large(sock, token, large)
    except (TimeoutError, EOFError):
        return Outcome.LOST, Outcome.UNTESTED
    except OSError as error:
        return _failure(error), Outcome.UNTESTED
    return small, large_outcome


async def _large(sock: socket.socket, token: bytes, size: int) -> Outcome:
    """Lost where nothing moves for a while: what is only slow is none of our business."""
    message = await asyncio.to_thread(pattern, size)
    exchange = _Exchange(sock, message)
    sending = asyncio.gather(
        exchange.send(token + size.to_bytes(LENGTH, "big")), exchange.receive(), return_exceptions=False
    )
    try:
        async with asyncio.timeout(LARGE_TIME):
            while not sending.done():
                before = exchange.received
                await asyncio.wait([sending], timeout=STALLED)
                if not sending.done() and exchange.received == before:
                    return Outcome.LOST
            await sending
    except TimeoutError:
        if exchange.received < min(ENOUGH, size):
            return Outcome.LOST
    except (OSError, EOFError):
        return Outcome.LOST
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    return Outcome.OK if exchange.intact else Outcome.DAMAGED


class _Exchange:
    """Both directions of one large echo at once: one after the other would fill both buffers and stand still."""

    def __init__(self, sock: socket.socket, message: bytes) -> None:
        self._sock = sock
        self._message = memoryview(message)
        self.received = 0
        self.intact = True

    async def send(self, head: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sock, head)
        for start in range(0, len(self._message), CHUNK):
            await loop.sock_sendall(self._sock, self._message[start : start + CHUNK])

    async def receive(self) -> None:
        while self.received < len(self._message):
            piece = await asyncio.get_running_loop().sock_recv(self._sock, CHUNK)
            if not piece:
                raise EOFError
            expected = self._message[self.received : self.received + len(piece)]
            self.intact = self.intact and piece == expected
            self.received += len(piece)
            await asyncio.sleep(0)  # the rest of the daemon has its turn too


async def connects(namespace: Opens, address: str, port: int) -> Outcome:
    """Whether anybody answers a connection: one that is refused was answered too."""
    try:
        async with (
            _opened(namespace, address, socket.SOCK_STREAM) as sock,
            asyncio.timeout(PATIENCE),
        ):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return Outcome.OK
    except TimeoutError:
        return Outcome.LOST
    except OSError as error:
        return _failure(error)


# -- ping --------------------------------------------------------------------------------------------
class Ping(Struct, frozen=True, kw_only=True):
    """Which of the sizes asked for (bytes of whole IP packets) came back; None where this host may not ping."""

    passed: frozenset[int] | None


async def ping(namespace: Opens, address: str, sizes: Sequence[int], *, wait: float, tries: int = 1) -> Ping:
    """Echo requests of all these sizes at once, never fragmented, until the largest comes back.

    They are sent `tries` times at most, and all of it takes no longer than `wait` seconds.
    """
    four = family_of(address) == socket.AF_INET
    proto = socket.IPPROTO_ICMP if four else socket.IPPROTO_ICMPV6
    passed: set[int] = set()
    try:
        async with _opened(namespace, address, socket.SOCK_RAW, proto) as sock:
            _unfragmented(sock, address, _PROBE)
            _only_replies(sock, four)
            sock.connect((address, 0))
            ident = int.from_bytes(os.urandom(2), "big")
            for _ in range(tries):
                for sequence, size in enumerate(sizes):
                    _send_ping(sock, _request(four, ident, sequence, size - _headers(address)))
                try:
                    async with asyncio.timeout(wait / tries):
                        await _collect(sock, four, ident, sizes, passed)
                except TimeoutError:
                    continue
                break
    except PermissionError:
        return Ping(passed=None)
    except OSError:
        return Ping(passed=frozenset(passed))
    return Ping(passed=frozenset(passed))


def _only_replies(sock: socket.socket, four: bool) -> None:
    """Room for a whole volley, and none of it for other messages. A set bit of a filter keeps a type off."""
    if four:
        sock.setsockopt(_SOL_RAW, _ICMP_FILTER, (0xFFFFFFFF & ~(1 << _REPLY4)).to_bytes(4, sys.byteorder))
    else:
        words = [0xFFFFFFFF] * 8
        words[_REPLY6 >> 5] &= ~(1 << (_REPLY6 & 31))
        sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP_FILTER, struct.pack("=8I", *words))
    for force in (_SO_SNDBUFFORCE, _SO_RCVBUFFORCE):
        sock.setsockopt(socket.SOL_SOCKET, force, 1 << 20)


def _send_ping(sock: socket.socket, request: bytes) -> None:
    try:
        sock.send(request)
    except OSError as error:
        # Too large for this host's own device, or its neighbour does not answer: it has not passed.
        if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS, errno.EAGAIN, errno.EHOSTUNREACH):
            raise


async def _collect(
    sock: socket.socket, four: bool, ident: int, sizes: Sequence[int], passed: set[int]
) -> None:
    while max(sizes) not in passed:
        try:
            packet = await asyncio.get_running_loop().sock_recv(sock, 65535)
        except ConnectionError:
            continue
        message = (
            packet[(packet[0] & 15) * 4 :] if four else packet
        )  # RFC 791: IHL; IPv6 comes without header
        if len(message) < 8:
            continue
        kind, got, sequence = struct.unpack("!B3xHH", message[:8])
        if kind == (_REPLY4 if four else _REPLY6) and got == ident and sequence < len(sizes):
            passed.add(sizes[sequence])


def _request(four: bool, ident: int, sequence: int, size: int) -> bytes:
    """An echo request (RFC 792, RFC 4443) with `size` bytes of content; the kernel sums up ICMPv6 itself."""
    content = pattern(max(0, size))
    if not four:
        return struct.pack("!BBHHH", 128, 0, 0, ident, sequence) + content
    head = struct.pack("!BBHHH", 8, 0, 0, ident, sequence)
    return head[:2] + _checksum(head + content).to_bytes(2, "big") + head[4:] + content


def _checksum(message: bytes) -> int:
    """RFC 1071: the ones' complement sum of 16-bit words is the remainder by 0xFFFF of one large number."""
    padded = message + b"\0" * (len(message) % 2)
    return ~(int.from_bytes(padded, "big") % 0xFFFF) & 0xFFFF


async def path_mtu(namespace: Opens, address: str, mtu: int, *, floor: int = 576, wait: float = 0.4) -> int:
    """The largest packet of at most `mtu` bytes that comes back unfragmented; 0 where no ping does.

    Each round asks for sixteen sizes between what passed and what did not, so three rounds know it to the byte.
    """
    low, high = 0, min(mtu, JUMBO) + 1
    first = True
    while high - low > 1:
        start = floor if first else low
        step = max(1, (high - start) // 16)
        sizes = sorted({*range(start if first else start + step, high, step), high - 1})
        passed = (
            await ping(namespace, address, sizes, wait=2 * wait if first else wait, tries=2 if first else 1)
        ).passed
        if not passed:
            if first:
                return 0
            high = sizes[0]
            continue
        low = max(passed)
        high = min((size for size in sizes if size > low), default=high)
        first = False
    return low
