"""A question to a container's name server, and what becomes of its answer."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from swarmcore.aio import Tasks
from swarmcore.rpc.messages.check import (
    Outcome,
)
from tests.worker.checks.loopback import FOUR, Loopback
from worker.checks.name_probe import lookup


async def answered(answer: bytes | None) -> Any:
    """What `lookup` makes of an answer, of which the question's id is the beginning."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind((FOUR, 0))

        async def answers() -> None:
            query, sender = await loop.sock_recvfrom(server, 65535)
            assert b"\x03api\x04shop\0\0\1\0\1" in query
            await loop.sock_sendto(server, b"stray datagram", sender)
            if answer is not None:
                await loop.sock_sendto(server, query[:2] + answer, sender)

        tasks = Tasks()
        tasks.start(answers(), "resolver")
        found = await lookup(Loopback(), "api.shop", server.getsockname())
        await tasks.close()
    return found


QUESTION = b"\x03api\x04shop\0\0\1\0\1"


RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\x04\x0a\1\0"


async def test_addresses_are_read_from_an_answer() -> None:
    found = await answered(b"\x85\x80\0\1\0\2\0\0\0\0" + QUESTION + RECORD + b"\x09" + RECORD + b"\x02")
    assert (found.outcome, found.addresses, found.partial) == (Outcome.OK, ("10.1.0.2", "10.1.0.9"), False)
    cut = await answered(b"\x87\x80\0\1\0\0\0\0\0\0" + QUESTION)
    assert (cut.outcome, cut.addresses, cut.partial) == (Outcome.OK, (), True)


async def test_answers_that_make_no_sense_are_damage() -> None:
    for answer in (b"", b"\x85\x80\0\1\0\2\0\0\0\0" + QUESTION + RECORD, os.urandom(3)):
        assert (await answered(answer)).outcome is Outcome.DAMAGED


async def test_a_resolver_that_is_not_there_or_silent() -> None:
    assert (await answered(None)).outcome is Outcome.LOST
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind((FOUR, 0))
        port = unused.getsockname()[1]
    assert (await lookup(Loopback(), "api.shop", (FOUR, port))).outcome is Outcome.REFUSED
    assert (await lookup(Loopback(), "x" * 64, (FOUR, port))).outcome is Outcome.UNTESTED
