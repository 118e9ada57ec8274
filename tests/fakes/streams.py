"""The two ends of one stream in memory; every message passes through msgpack, as on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from swarmcore.errors import Unavailable


class StreamEnd:
    """Like `swarmcore.rpc`'s stream: after a close both ends raise, once what was sent has been read."""

    def __init__(self, incoming: Any) -> None:
        self._decoder = msgspec.msgpack.Decoder(incoming)
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False
        self.peer: StreamEnd

    async def send(self, message: msgspec.Struct) -> None:
        await asyncio.sleep(0)
        if self._closed or self.peer._closed:
            raise Unavailable("the stream is closed")
        self.peer._inbox.put_nowait(msgspec.msgpack.encode(message))

    async def receive(self) -> Any:
        if self._closed and self._inbox.empty():
            raise Unavailable("the stream is closed")
        data = await self._inbox.get()
        if data is None:
            self._closed = True
            raise Unavailable("the stream is closed")
        return self._decoder.decode(data)

    async def close(self, reason: str = "") -> None:
        if not self._closed:
            self._closed = True
            self.peer._inbox.put_nowait(None)
            self._inbox.put_nowait(None)


def stream_pair(first_incoming: Any, second_incoming: Any) -> tuple[StreamEnd, StreamEnd]:
    first, second = StreamEnd(first_incoming), StreamEnd(second_incoming)
    first.peer, second.peer = second, first
    return first, second
