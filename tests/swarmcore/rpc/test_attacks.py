"""What is not a node on port 2377: refused with one line, and the daemon stays healthy."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from swarmcore.rpc import connection, listener
from swarmcore.rpc.refusals import LINES, PERIOD, Refusals
from tests.swarmcore.rpc.lab import LIMIT, Lab, until


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        str(getattr(record, "reason", "")) for record in caplog.records if record.message == "peer refused"
    ]


async def talk(lab: Lab, data: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """Send bytes, read until the server hangs up."""
    name = "swarm-manager" if context is not None else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", lab.server.port, ssl=context, server_hostname=name
    )
    answer = b""
    try:
        async with asyncio.timeout(10):
            writer.write(data)
            await writer.drain()
            answer = await reader.read()
    except (ConnectionError, ssl.SSLError):
        pass  # a reset is as good as an end
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except (ConnectionError, ssl.SSLError):
            pass
    return answer


async def test_raw_garbage_is_one_line_however_often(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        await talk(lab, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(5):
        await talk(lab, bytes(range(256)) * 400)
    reasons = refusals(caplog)
    assert len(reasons) == len(set(reasons)) == 2
    assert all(reason.startswith("TLS handshake failed") for reason in reasons)
    assert "Traceback" not in caplog.text
    assert await lab.is_healthy()


async def test_garbage_inside_tls_is_one_line(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    context = lab.swarm.client("w1")
    for _ in range(3):
        answer = await talk(lab, b"\x00\x01\x02 what is this \xff\xfe\r\n\r\n", context)
        assert b" 400 " in answer
    assert refusals(caplog) == ["the request is not valid HTTP"]
    assert "Traceback" not in caplog.text
    assert await lab.is_healthy()


@pytest.mark.parametrize(
    "request_line",
    ["GET / HTTP/1.1", "DELETE /rpc/echo HTTP/1.1", "GET /rpc/echo HTTP/1.1", "POST /a/b/c HTTP/1.1"],
)
async def test_unknown_paths_are_refused(
    lab: Lab, caplog: pytest.LogCaptureFixture, request_line: str
) -> None:
    answer = await talk(lab, f"{request_line}\r\nHost: x\r\n\r\n".encode(), lab.swarm.client("w1"))
    assert b" 404 " in answer
    assert refusals(caplog) == ["unknown path"]


async def test_broken_chunks_are_refused(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST /rpc/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await talk(lab, head + b"zz\r\nnot a chunk\r\n", lab.swarm.client("w1"))
    assert refusals(caplog) == ["the request is not valid HTTP"]
    assert "Traceback" not in caplog.text
    assert await lab.is_healthy()


async def test_an_oversized_body_is_not_read(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    head = f"POST /rpc/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n".encode()
    answer = await talk(lab, head, lab.swarm.client("w1"))
    assert b" 400 " in answer
    assert refusals(caplog) == [f"the request is larger than {LIMIT} bytes"]
    assert await lab.is_healthy()


async def test_a_stream_that_is_no_websocket_is_refused(lab: Lab) -> None:
    answer = await talk(
        lab, b"GET /stream/open-echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", lab.swarm.client("w1")
    )
    assert b" 400 " in answer
    assert await lab.is_healthy()


async def test_a_peer_that_says_nothing_is_not_worth_a_line(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", lab.server.port)
        writer.close()
        await writer.wait_closed()
    assert await lab.is_healthy()
    assert refusals(caplog) == []


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def monotonic(self) -> float:
        return self.time

    def now(self):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def test_a_refusal_is_logged_again_after_a_while_with_the_number_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Hand()
    seen = Refusals(clock)
    for _ in range(5):
        seen.note("10.0.0.9", "no certificate")
    clock.time += PERIOD
    seen.note("10.0.0.9", "no certificate")
    assert [record.__dict__["repeated"] for record in caplog.records] == [0, 4]


def test_a_crowd_of_addresses_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = Hand()
    seen = Refusals(clock)
    for number in range(5000):
        seen.note(f"10.0.{number // 250}.{number % 250}", "no certificate")
    assert len(caplog.records) == LINES + 1
    clock.time += PERIOD
    seen.note("10.9.9.9", "no certificate")
    assert len(caplog.records) == LINES + 2


async def test_a_peer_that_never_finishes_its_handshake_is_cut_off(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKE_DEADLINE", 0.05)
    assert await talk(lab, b"\x16\x03\x01") == b""  # reads until the server hangs up
    assert refusals(caplog) == ["TLS handshake took too long"]


async def test_a_peer_that_shakes_hands_and_asks_nothing_is_cut_off(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FIRST_REQUEST_DEADLINE", 0.05)
    assert await talk(lab, b"POST /rpc/ec", lab.swarm.client(None)) == b""
    assert refusals(caplog) == ["connected but sent no request"]


async def test_garbage_instead_of_tls_records_after_the_handshake_ends_the_connection_quietly(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = lab.swarm.client("w1").wrap_bio(incoming, outgoing, server_hostname="swarm-manager")
    reader, writer = await asyncio.open_connection("127.0.0.1", lab.server.port)
    async with asyncio.timeout(10):
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        writer.write(outgoing.read() + b"this is no TLS record" * 100)
        try:
            await reader.read()
        except ConnectionError:
            pass  # a reset is as good as an end
    writer.close()
    assert "Traceback" not in caplog.text
    assert await lab.is_healthy()


async def test_slow_handshakes_of_one_address_do_not_take_all_places(
    lab: Lab, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HANDSHAKES_OF_ONE", 2)
    idle = [await asyncio.open_connection("127.0.0.1", lab.server.port) for _ in range(3)]
    async with asyncio.timeout(10):
        await idle[2][0].read()  # the third is closed at once
    assert refusals(caplog) == ["too many handshakes at a time"]
    for _, writer in idle:
        writer.close()
    await until(lambda: not lab.server._listener._shaking)  # type: ignore[union-attr]
    assert await lab.is_healthy()
