"""What answers probes on this host, and only those of a check that goes on."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest

from swarmcore.rpc.messages.check import (
    Outcome,
)
from tests.worker.checks.loopback import FOUR, TOKEN_OF_TEST, Loopback, files
from tests.worker.sample import until
from worker.checks import probes
from worker.checks.probe_listener import LENGTH, TOKEN, ProbeListener, token_of


@pytest.fixture
async def listener() -> AsyncIterator[ProbeListener]:
    made = ProbeListener(Loopback(), TOKEN_OF_TEST)
    yield made
    await made.close()
    assert made._namespace.open == 0  # type: ignore[attr-defined]


async def test_a_listener_answers_only_who_knows_the_token(listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    wrong = token_of("another check")
    assert await probes.udp(Loopback(), FOUR, at.udp, wrong, "n2") is Outcome.LOST
    small, large = await probes.tcp(Loopback(), FOUR, at.tcp, wrong, 0)
    assert small in (Outcome.LOST, Outcome.REFUSED) and large is Outcome.UNTESTED
    assert listener.heard == set()
    assert await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, "n2") is Outcome.OK
    assert listener.heard == {"n2"}


async def test_a_listener_remembers_only_the_parties(listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, "n2")
    listener.knows({"n3"})
    assert listener.heard == set()
    for sender in ("n2", "n3"):
        assert await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, sender) is Outcome.OK
    assert listener.heard == {"n3"}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"x",
        TOKEN_OF_TEST,
        TOKEN_OF_TEST + b"\xff",
        TOKEN_OF_TEST + b"\x02\xff\xff",
        os.urandom(1400),
    ],
)
async def test_no_datagram_harms_a_listener(message: bytes, listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(message, (FOUR, at.udp))
    assert await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, "n2") is Outcome.OK


@pytest.mark.parametrize(
    "head",
    [b"\0" * (TOKEN + LENGTH), TOKEN_OF_TEST + (1 << 40).to_bytes(LENGTH, "big"), b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_a_connection_that_says_anything_else_is_closed(head: bytes, listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    reader, writer = await asyncio.open_connection(FOUR, at.tcp)
    writer.write(head.ljust(TOKEN + LENGTH, b" "))
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_closing_ends_connections_that_are_open(listener: ProbeListener) -> None:
    before = files()
    (at,) = await listener.open((FOUR,))
    reader, writer = await asyncio.open_connection(FOUR, at.tcp)
    writer.write(TOKEN_OF_TEST + (8).to_bytes(LENGTH, "big") + b"four")
    assert await reader.readexactly(4) == b"four"
    await listener.close()
    await listener.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await until(lambda: files() == before)
