"""As little of an HTTP client as a load needs: one kept connection to a unix socket, ready-made requests.

The clients of a measurement share two cores with the daemons: a whole client library would measure itself.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import TracebackType
from typing import Any

_HEAD_LIMIT = 1 << 20


class Refused(Exception):
    """The daemon answered with an error."""


class RawClient:
    """`async with RawClient(socket) as client: await client.call("GET", "/info")`."""

    def __init__(self, socket: Path, prefix: str = "/v1.41") -> None:
        self._socket, self._prefix = socket, prefix

    async def __aenter__(self) -> RawClient:
        self._reader, self._writer = await asyncio.open_unix_connection(self._socket, limit=_HEAD_LIMIT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(await self.raw(method, path, body) or b"null")

    async def raw(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer's body; Refused when the status is not 2xx."""
        data = b"" if body is None else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if data else ""
        self._writer.write(
            f"{method} {self._prefix}{path} HTTP/1.1\r\nHost: d\r\n{kind}"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        answer = await self._body(head)
        if not head.split(" ", 2)[1].startswith("2"):
            raise Refused(f"{method} {path}: {answer.decode(errors='replace').strip()}")
        return answer

    async def _body(self, head: str) -> bytes:
        if "transfer-encoding: chunked" in head:
            return await self._chunks()
        length = head.partition("content-length:")[2].split("\r\n", 1)[0].strip()
        return await self._reader.readexactly(int(length or 0))

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(parts)
