"""The listener's end: no accepted connection outlives it, however far its handshake was."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from swarmcore.rpc.listener import TlsListener
from swarmcore.rpc.refusals import Refusals


@pytest.mark.parametrize("turns", range(8))
async def test_closing_leaves_no_connection_whose_handshake_has_not_begun(turns: int) -> None:
    listener = TlsListener(asyncio.Protocol, Refusals())
    await listener.start("127.0.0.1", 0, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    with socket.create_connection(("127.0.0.1", listener.port)) as client:
        client.setblocking(False)
        for _ in range(turns):  # wherever the loop is, nothing may be left
            await asyncio.sleep(0)
        await listener.close()
        try:
            async with asyncio.timeout(5):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        except ConnectionResetError:
            pass  # it had not even been accepted
