"""Streams over real TLS: echo, ends, errors, dropped nodes, frames that are too large."""

from __future__ import annotations

import pytest

from swarmcore.errors import Forbidden, Internal, Invalid, NotFound, NotManager, Unauthenticated
from swarmcore.rpc.stream import StreamClosed
from tests.swarmcore.rpc.lab import LIMIT, Echo, Fails, Lab, OpenEcho, Ping, Pong, Reply, until


async def test_a_stream_echoes(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(greeting="hi"), incoming=Pong) as stream:
        assert await stream.receive() == Pong(number=0, text="hi")
        for number in range(1, 50):
            await stream.send(Ping(number=number))
        assert [(await stream.receive()).number for _ in range(1, 50)] == list(range(1, 50))
    await until(lambda: lab.ended == ["w1"])


async def test_a_union_of_messages_is_told_apart(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Ping | Pong) as stream:
        assert isinstance(await stream.receive(), Pong)


async def test_raw_bytes_can_be_read(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho()) as stream:
        assert b"pong" in await stream.receive_bytes()


async def test_without_a_certificate_there_are_no_streams(lab: Lab) -> None:
    with pytest.raises(Unauthenticated, match="no certificate"):
        async with lab.client(None).stream(lab.address, OpenEcho()):
            pass


async def test_a_stream_that_nobody_serves(lab: Lab) -> None:
    lab.server.unregister(OpenEcho)
    with pytest.raises(NotManager, match="not a manager"):
        async with lab.client("w1").stream(lab.address, OpenEcho()):
            pass


async def test_a_route_that_goes_ends_its_streams(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        lab.server.unregister(OpenEcho)
        with pytest.raises(StreamClosed, match="does not serve it any more"):
            await stream.receive()
    await until(lambda: lab.ended == ["w1"])


async def test_dropping_a_node_ends_its_streams_and_no_others(lab: Lab) -> None:
    async with (
        lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as first,
        lab.client("w2").stream(lab.address, OpenEcho(), incoming=Pong) as second,
    ):
        await first.receive()
        await second.receive()
        lab.removed.add("w1")
        lab.server.drop("w1")
        with pytest.raises(StreamClosed, match="removed from the swarm"):
            await first.receive()
        await second.send(Ping(number=7))
        assert await second.receive() == Pong(number=7)
    with pytest.raises(Forbidden, match="w1 was removed"):
        async with lab.client("w1").stream(lab.address, OpenEcho()):
            pass


async def test_a_message_of_a_node_that_is_not_admitted_any_more_does_not_count(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        lab.removed.add("w1")
        await stream.send(Ping(number=1))
        with pytest.raises(Forbidden, match="w1 was removed"):
            await stream.receive()
        with pytest.raises(StreamClosed):
            await stream.send(Ping(number=2))


async def test_an_error_of_the_handler_is_raised_at_the_client(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        await stream.send(Fails(how="user"))
        with pytest.raises(NotFound, match="service web not found"):
            await stream.receive()


async def test_a_bug_in_the_handler_is_told_without_details(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        await stream.send(Fails())
        with pytest.raises(Internal, match="failed in open-echo"):
            await stream.receive()
    assert "ZeroDivisionError" in caplog.text


async def test_a_message_that_is_too_large_is_not_sent(lab: Lab) -> None:
    client = lab.client("w1")
    client._limit = 1000
    async with client.stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        with pytest.raises(Internal, match="larger than the limit"):
            await stream.send_bytes(bytes(1001))
        await stream.receive()  # and the stream goes on


async def test_a_frame_that_is_too_large_ends_the_stream_only(lab: Lab) -> None:
    client = lab.client("w1")
    async with client.stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        await stream.send_bytes(bytes(LIMIT + 1))
        with pytest.raises(StreamClosed):
            await stream.receive()
    assert (await client.call(lab.address, Echo(text="on"), Reply)).text == "on"


async def test_a_frame_of_just_the_limit_passes(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        await stream.send_bytes(bytes(LIMIT))  # arrives, and is no message
        with pytest.raises(Invalid, match="unreadable message"):
            await stream.receive()


async def test_garbage_instead_of_an_opening_is_told(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        await stream.send_bytes(b"\xc1garbage")
        with pytest.raises(Invalid, match="unreadable"):
            await stream.receive()
    assert await lab.is_healthy()


async def test_a_server_that_stops_says_so(lab: Lab) -> None:
    async with lab.client("w1").stream(lab.address, OpenEcho(), incoming=Pong) as stream:
        await stream.receive()
        await lab.server.close()
        with pytest.raises(StreamClosed, match="stops"):
            await stream.receive()
    assert lab.ended == ["w1"]
