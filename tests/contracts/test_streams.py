"""Two ends of a stream: over TLS as between nodes, and in memory as the tests of agents and managers have them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from swarmcore.errors import Internal, Invalid, NotFound, SwarmError, Unavailable
from swarmcore.model.node import NodeRole
from swarmcore.rpc.server import Peer
from swarmcore.rpc.stream import Stream, StreamClosed
from tests.fakes.streams import stream_pair
from tests.swarmcore.rpc.lab import OpenEcho, Ping, Pong, running_lab, until

#: The dialling end, which receives Pong, and the serving end, which receives Ping.
Ends = tuple[Stream[Any], Stream[Any]]


@asynccontextmanager
async def _over_tls(folder: Path) -> AsyncIterator[Ends]:
    served: asyncio.Future[Stream[Any]] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def serve(peer: Peer, opening: OpenEcho, stream: Stream[Any]) -> None:
        served.set_result(stream)
        await over.wait()

    async with running_lab(folder) as lab:
        lab.server.unregister(OpenEcho)
        lab.server.stream(OpenEcho, serve, roles=frozenset(NodeRole), incoming=Ping)
        async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as near:
            try:
                yield near, await served
            finally:
                over.set()


@asynccontextmanager
async def _in_memory(folder: Path) -> AsyncIterator[Ends]:
    near, far = stream_pair(Pong, Ping)
    try:
        yield near, far
    finally:
        await near.close()
        await far.close()


@pytest.fixture(params=[_over_tls, _in_memory], ids=["over TLS", "in memory"])
async def ends(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Ends]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(request.param(tmp_path))


async def everything(stream: Stream[Any]) -> tuple[list[Any], SwarmError]:
    """All messages up to the end, and how it ended."""
    messages = []
    while True:
        try:
            messages.append(await stream.receive())
        except SwarmError as error:
            return messages, error


async def test_messages_arrive_in_order_both_ways(ends: Ends) -> None:
    near, far = ends
    for number in range(100):
        await near.send(Ping(number=number))
        await far.send(Pong(number=number, text="x" * 100))
    assert [(await far.receive()).number for _ in range(100)] == list(range(100))
    assert [await near.receive() for _ in range(100)] == [
        Pong(number=number, text="x" * 100) for number in range(100)
    ]


async def test_what_was_sent_before_the_close_is_received_and_then_the_reason(ends: Ends) -> None:
    near, far = ends
    for number in range(3):
        await far.send(Pong(number=number))
    _, (messages, end) = await asyncio.gather(far.close("that is all"), everything(near))
    assert [message.number for message in messages] == [0, 1, 2]
    assert isinstance(end, StreamClosed) and "that is all" in str(end)
    assert near.closed and far.closed


async def test_who_closed_it_sends_and_receives_nothing_any_more(ends: Ends) -> None:
    near, far = ends
    await far.send(Pong(number=1))
    await asyncio.gather(near.close(), everything(far))
    await near.close("once more")
    with pytest.raises(Unavailable):
        await near.receive()  # not even what had arrived
    with pytest.raises(Unavailable):
        await near.send(Ping(number=1))


async def test_who_waits_for_a_message_is_woken_by_its_own_close(ends: Ends) -> None:
    near, far = ends
    waiting = asyncio.ensure_future(everything(near))  # noqa: TID251
    await asyncio.sleep(0)
    await asyncio.gather(near.close("enough"), everything(far))
    assert "enough" in str((await waiting)[1])


async def test_a_sender_learns_of_the_close_when_it_receives_at_the_latest(ends: Ends) -> None:
    near, far = ends
    await asyncio.gather(far.close(), everything(near))
    with pytest.raises(StreamClosed):
        await near.send(Ping(number=1))


async def test_an_error_ends_it_and_is_raised_at_the_other_end(ends: Ends) -> None:
    near, far = ends
    await far.send(Pong(number=1))
    failing = far.fail(NotFound("service web not found", "look at service ls"))
    _, (messages, told) = await asyncio.gather(failing, everything(near))
    assert messages == [Pong(number=1)]
    assert isinstance(told, NotFound) and str(told) == "service web not found"
    assert told.hint == "look at service ls"
    assert near.closed


async def test_what_is_no_message_of_it_ends_it_at_both_ends(ends: Ends) -> None:
    near, far = ends
    await near.send(Pong(number=1))  # the other end receives pings
    (_, own), (_, told) = await asyncio.gather(everything(far), everything(near))
    assert isinstance(own, StreamClosed) and "unreadable message" in str(own)
    assert isinstance(told, Invalid) and "unreadable message" in str(told)
    assert near.closed and far.closed


async def test_what_is_too_large_is_not_sent_and_it_goes_on(ends: Ends) -> None:
    near, far = ends
    with pytest.raises(Internal, match="larger than the limit"):
        await far.send_bytes(bytes((16 << 20) + 1))
    await far.send(Pong(number=2))
    assert await near.receive() == Pong(number=2)


async def test_a_receive_that_was_cancelled_loses_nothing(ends: Ends) -> None:
    near, far = ends
    waiting = asyncio.ensure_future(far.receive())  # noqa: TID251
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await near.send(Ping(number=7))
    assert await far.receive() == Ping(number=7)
    await until(lambda: not near.closed)
