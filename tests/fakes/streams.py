"""The two ends of one stream in memory: `swarmcore.rpc`'s own streams, over sockets that carry frames at once."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import WSMessage, WSMsgType

from swarmcore.rpc.stream import Stream


class MemorySocket:
    """One end of a WebSocket: what was sent before a close is still received, what is sent after it gets lost."""

    def __init__(self) -> None:
        self.peer: MemorySocket
        self._inbox: asyncio.Queue[WSMessage] = asyncio.Queue()
        self._closed = False

    async def send_bytes(self, data: bytes) -> None:
        await self._send(WSMessage(WSMsgType.BINARY, bytes(data), None))

    async def send_str(self, data: str) -> None:
        await self._send(WSMessage(WSMsgType.TEXT, data, None))

    async def _send(self, frame: WSMessage) -> None:
        await asyncio.sleep(0)
        if self._closed:
            raise ConnectionResetError("the socket is closed")
        self.peer._inbox.put_nowait(frame)

    async def receive(self) -> WSMessage:
        frame = await self._inbox.get()
        if frame.type in (WSMsgType.CLOSE, WSMsgType.CLOSED):
            self._closed = True
            self._inbox.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))
        return frame

    async def close(self, *, code: int = 1000, message: bytes = b"") -> bool:
        if self._closed:
            return False
        self._closed = True
        self.peer._inbox.put_nowait(WSMessage(WSMsgType.CLOSE, code, message.decode()))
        self._inbox.put_nowait(WSMessage(WSMsgType.CLOSED, None, None))  # wakes who receives
        return True


class StreamEnd(Stream[Any]):
    """A stream that knows its other end."""

    peer: StreamEnd


def stream_pair(first_incoming: Any, second_incoming: Any) -> tuple[StreamEnd, StreamEnd]:
    one, other = MemorySocket(), MemorySocket()
    one.peer, other.peer = other, one
    first = StreamEnd(one, first_incoming, peer="the second end")
    second = StreamEnd(other, second_incoming, peer="the first end")
    first.peer, second.peer = second, first
    return first, second
