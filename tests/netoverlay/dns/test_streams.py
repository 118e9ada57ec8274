"""A connection, however its bytes arrive."""

from __future__ import annotations

import asyncio
import socket
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from netoverlay.dns.answers import View
from netoverlay.dns.forward import Forwarder, Path
from netoverlay.dns.limits import Counters, Limits
from netoverlay.dns.records import Names
from netoverlay.dns.resolver import Resolver
from netoverlay.dns.streams import Connection
from tests.netoverlay.dns.sample import SHOP, wire


def resolver(limits: Limits, counters: Counters) -> Resolver:
    names = [Names(SHOP)]
    return Resolver(
        View(lambda: names),
        Path((), "nowhere"),
        Forwarder(limits, counters),
        limits=limits,
        counters=counters,
        random=Random(7),
    )


MESSAGES = st.one_of(
    st.builds(wire, st.sampled_from(["api", "tasks.api", "www.example"])), st.binary(max_size=40)
)


@given(st.lists(MESSAGES, max_size=30), st.lists(st.integers(1, 100), min_size=1, max_size=20))
def test_whatever_the_pieces_each_question_has_its_answer(messages: list[bytes], pieces: list[int]) -> None:
    async def story() -> None:
        limits, counters = Limits(), Counters()
        ended: list[Connection] = []
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        answers = resolver(limits, counters)
        Connection(asyncio.get_running_loop(), ours, answers, limits, ended.append)
        reader, writer = await asyncio.open_connection(sock=theirs)
        data = b"".join(len(each).to_bytes(2, "big") + each for each in messages)
        number = 0
        while data:
            size = pieces[number % len(pieces)]
            writer.write(data[:size])
            await asyncio.sleep(0)
            data, number = data[size:], number + 1
        writer.write_eof()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        heard = []
        while received:
            length = int.from_bytes(received[:2], "big")
            heard.append(received[2:4])
            assert len(received) >= 2 + length
            received = received[2 + length :]
        # Too short for an id, or marked as an answer: silence.
        expected = [each[:2] for each in messages if len(each) >= 12 and not each[2] & 0x80]
        assert heard == expected
        assert len(ended) == 1

    asyncio.run(story())


async def test_a_client_that_does_not_read_is_read_no_more_and_then_closed() -> None:
    limits, counters = Limits(idle=0.2), Counters()
    ended = asyncio.Event()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    loop = asyncio.get_running_loop()
    Connection(loop, ours, resolver(limits, counters), limits, lambda _: ended.set())
    question = wire("tasks.api")
    sent = 0
    with theirs:
        try:
            while not ended.is_set():
                sent += theirs.send(len(question).to_bytes(2, "big") + question)
                await asyncio.sleep(0)
        except BlockingIOError:
            pass
        assert counters.queries < sent
        async with asyncio.timeout(20):
            await ended.wait()
