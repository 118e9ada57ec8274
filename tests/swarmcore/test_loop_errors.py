"""What a loop reports by itself: what breaks a connection costs that connection, any other fault is an error."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from swarmcore.aio import on_loop_error

MAKE = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -days 1"
RUNNERS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {
    "asyncio": asyncio.run,
    "uvloop": uvloop.run,
}


class _Breaks(asyncio.Protocol):
    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        raise RuntimeError("this protocol cannot read")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()


def _self_signed(folder: Path) -> Path:
    file = folder / "both.pem"
    subprocess.run([*MAKE.split(), "-keyout", file, "-out", file], check=True, capture_output=True)
    return file


async def _speak_with_one_that_breaks(certificate: Path) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_error)
    served, asked = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    served.load_cert_chain(certificate)
    asked.check_hostname, asked.verify_mode = False, ssl.CERT_NONE
    protocol = _Breaks()
    server = await loop.create_server(lambda: protocol, "127.0.0.1", 0, ssl=served)
    async with server, asyncio.timeout(10):
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=asked)
        writer.write(b"hello")
        await protocol.lost.wait()
        writer.transport.abort()


@pytest.mark.parametrize("loop", RUNNERS)
def test_what_breaks_a_connection_is_a_warning_with_its_traceback(
    loop: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        RUNNERS[loop](_speak_with_one_that_breaks(_self_signed(tmp_path)))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "this protocol cannot read" in caplog.text
    assert "Traceback" in caplog.text


async def test_any_other_fault_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    on_loop_error(asyncio.get_running_loop(), {"message": "a callback failed", "exception": KeyError("x")})
    assert [record.levelname for record in caplog.records] == ["ERROR"]
