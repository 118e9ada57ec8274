"""One two-way stream of messages between nodes, over a WebSocket: bounded frames, one way to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from aiohttp import ClientError, WSMessage, WSMsgType
from msgspec import Struct

from swarmcore.errors import Internal, Invalid, SwarmError, Unavailable
from swarmcore.rpc.codec import MAX_FRAME, ErrorMessage, decode, encode, to_wire

T = TypeVar("T")
SEND_DEADLINE = 30.0  # a peer that takes nothing for so long is gone
CLOSE_DEADLINE = 2.0
_LAST_WORDS = 120  # a close frame has room for 123 bytes


class StreamClosed(Unavailable):
    """The stream has ended, by either side or because the connection was lost; the message says why."""

    hint = "open it again"


class Socket(Protocol):
    """What both ends of aiohttp's WebSockets have in common."""

    async def send_bytes(self, data: bytes) -> None: ...
    async def send_str(self, data: str) -> None: ...
    async def receive(self) -> WSMessage: ...
    async def close(self, *, code: int = ..., message: bytes = ...) -> bool: ...


class Stream(Generic[T]):
    """Receives messages of type T (a struct or a union of tagged structs) and sends any struct.

    One task may receive while others send and close. A peer's error ends the stream and is raised by `receive`.
    """

    def __init__(
        self,
        socket: Socket,
        incoming: Any,
        *,
        peer: str,
        limit: int = MAX_FRAME,
        recheck: Callable[[], object] | None = None,
        abort: Callable[[], None] | None = None,
    ) -> None:
        self._socket = socket
        self._incoming = incoming
        self._peer = peer
        self._limit = limit
        self._recheck = recheck
        self._abort = abort
        self._ended: str | None = None

    @property
    def closed(self) -> bool:
        return self._ended is not None

    async def send(self, message: Struct) -> None:
        await self.send_bytes(encode(message))

    async def send_bytes(self, data: bytes) -> None:
        """Returns when the frame is on its way, not when it has arrived."""
        if len(data) > self._limit:
            raise Internal(f"a message of {len(data)} bytes is larger than the limit of {self._limit}")
        if self._ended is not None:
            raise StreamClosed(self._ended)
        try:
            async with asyncio.timeout(SEND_DEADLINE):
                await self._socket.send_bytes(data)
        except TimeoutError as error:
            self._lose(f"{self._peer} takes no messages")
            raise StreamClosed(f"{self._peer} takes no messages") from error
        except (OSError, ClientError, RuntimeError) as error:
            # RuntimeError is aiohttp's word for a WebSocket that is closed already.
            self.end(f"the connection to {self._peer} was lost")
            raise StreamClosed(f"the connection to {self._peer} was lost") from error

    async def receive(self) -> T:
        data = await self.receive_bytes()
        try:
            message: T = decode(data, self._incoming)
        except Invalid as error:
            await self.fail(error)
            raise StreamClosed(f"{self._peer} sent an {error}") from error
        return message

    async def receive_bytes(self) -> bytes:
        """The next frame as it came; for streams whose frames are not messages."""
        if self._ended is not None:
            raise StreamClosed(self._ended)
        frame = await self._socket.receive()
        if self._ended is not None:  # ended while a frame was on its way: it counts no more
            raise StreamClosed(self._ended)
        if frame.type is WSMsgType.BINARY:
            if self._recheck is not None:
                try:
                    self._recheck()
                except SwarmError as error:
                    await self.fail(error)
                    raise StreamClosed(f"{self._peer} is refused: {error}") from error
            data: bytes = frame.data
            return data
        if frame.type is WSMsgType.TEXT:
            raise await self._told(frame.data)
        self.end(_reason(frame, self._peer))
        assert self._ended is not None
        raise StreamClosed(self._ended)

    async def close(self, reason: str = "") -> None:
        """End it and tell the peer why; harmless if it has ended."""
        self.end(reason or "the stream was closed")
        text = reason.encode()[:_LAST_WORDS].decode("utf-8", "ignore").encode()
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await self._socket.close(code=1000, message=text)
        except (TimeoutError, OSError, ClientError, RuntimeError):
            self._lose("")  # no last words then: the connection ends without them

    async def fail(self, error: SwarmError) -> None:
        """End it with an error that the other side's `receive` raises."""
        if self._ended is not None:
            return
        try:
            async with asyncio.timeout(CLOSE_DEADLINE):
                await self._socket.send_str(msgspec.json.encode(to_wire(error)).decode())
        except (TimeoutError, OSError, ClientError, RuntimeError):
            self._lose(str(error))
            return
        await self.close(str(error))

    def end(self, reason: str) -> None:
        """From now on nothing is sent or received; the first reason stays."""
        if self._ended is None:
            self._ended = reason

    def _lose(self, reason: str) -> None:
        self.end(reason)
        if self._abort is not None:
            self._abort()

    async def _told(self, text: str) -> SwarmError:
        """The error that the peer ended the stream with."""
        try:
            error: SwarmError = msgspec.json.decode(text, type=ErrorMessage).error()
        except (msgspec.DecodeError, RecursionError):
            error = StreamClosed(f"{self._peer} sent an unreadable message")
        await self.close(str(error))
        return error


def _reason(frame: WSMessage, peer: str) -> str:
    if frame.type is WSMsgType.CLOSE and frame.extra:
        return str(frame.extra)
    if frame.type is WSMsgType.ERROR:
        return f"{peer} broke the protocol: {frame.data}"
    return f"the connection to {peer} has ended"
