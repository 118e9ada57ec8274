"""Probes of one path: large exchanges, datagrams, the size that fits."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from swarmcore.aio import Tasks
from swarmcore.rpc.messages.check import (
    Outcome,
)
from tests.worker.checks.loopback import FOUR, TOKEN_OF_TEST, Loopback
from worker.checks import probes
from worker.checks.probe_listener import LENGTH, TOKEN, datagram, exactly, pattern


@asynccontextmanager
async def peer_that(answers: Callable[[socket.socket], Awaitable[None]]) -> AsyncIterator[int]:
    """The port of a peer that treats one connection so."""
    tasks = Tasks()
    with socket.create_server((FOUR, 0)) as server:
        server.setblocking(False)

        async def serve() -> None:
            connection, _ = await asyncio.get_running_loop().sock_accept(server)
            with connection:
                connection.setblocking(False)
                await answers(connection)

        tasks.start(serve(), "peer")
        try:
            yield int(server.getsockname()[1])
        finally:
            await tasks.close()


async def test_a_flipped_bit_in_a_large_exchange_is_damage() -> None:
    async def flips(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for flipped in (0, 1):
            head = await exactly(connection, TOKEN + LENGTH)
            left = int.from_bytes(head[TOKEN:], "big")
            while left:
                piece = await loop.sock_recv(connection, min(left, 65536))
                left -= len(piece)
                await loop.sock_sendall(connection, piece[:-1] + bytes([piece[-1] ^ flipped]))

    async with peer_that(flips) as port:
        found = await probes.tcp(Loopback(), FOUR, port, TOKEN_OF_TEST, 1 << 18)
    assert found == (Outcome.OK, Outcome.DAMAGED)


async def test_an_exchange_that_stands_still_is_lost() -> None:
    async def small_only(connection: socket.socket) -> None:
        await exactly(connection, TOKEN + LENGTH)
        await asyncio.get_running_loop().sock_sendall(connection, await exactly(connection, probes.SMALL))
        await asyncio.Event().wait()

    async with peer_that(small_only) as port:
        found = await probes.tcp(Loopback(), FOUR, port, TOKEN_OF_TEST, 1 << 24)
    assert found == (Outcome.OK, Outcome.LOST)


async def test_a_datagram_that_comes_back_different_is_damage() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind((FOUR, 0))

        async def flips() -> None:
            message, sender = await loop.sock_recvfrom(server, 65535)
            await loop.sock_sendto(server, message[:-1] + b"?", sender)

        tasks = Tasks()
        tasks.start(flips(), "flips")
        found = await probes.udp(Loopback(), FOUR, server.getsockname()[1], TOKEN_OF_TEST, "n1")
        await tasks.close()
    assert found is Outcome.DAMAGED


async def test_a_datagram_that_fills_the_route_is_sent_whole() -> None:
    assert len(datagram(TOKEN_OF_TEST, "n1", 1422)) == 1422
    assert datagram(TOKEN_OF_TEST, "n1", 0) == TOKEN_OF_TEST + b"\x02n1"
    found = await probes.udp(Loopback(), FOUR, 1, TOKEN_OF_TEST, "n1", mtu=70_000)
    assert found is Outcome.TOO_LARGE


def test_no_two_words_of_the_pattern_are_alike() -> None:
    assert pattern(10) == b"\0\0\0\0\0\0\0\1\0\0"
    whole = pattern(1 << 16)
    words = [whole[at : at + 4] for at in range(0, len(whole), 4)]
    assert len(set(words)) == len(words) and pattern(0) == b""


async def test_an_address_without_a_route_has_no_mtu() -> None:
    assert await probes.route_mtu(Loopback(), FOUR) == 65535
    assert await probes.route_mtu(Loopback(), "255.255.255.255") == 0
