"""A client of the Engine API on a unix socket (or tcp://): what the CLI and the lab talk through."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from pyswarmd.config import API_VERSION
from swarmcore import errors

_BY_STATUS: dict[int, type[errors.SwarmError]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    403: errors.Forbidden,
    404: errors.NotFound,
    409: errors.Conflict,
    501: errors.Unimplemented,
    503: errors.Unavailable,
}


def filters(**wanted: list[str]) -> str:
    """The `filters` query value, in the list encoding."""
    return json.dumps(
        {
            ("_up-to-date" if key == "_up_to_date" else key.replace("_", "-")): values
            for key, values in wanted.items()
            if values
        }
    )


def at(kind: str, name: str, *more: str) -> str:
    """The path of one object, such as `at("services", "web", "logs")`: every name in a path goes through here.

    A name may hold anything; it stays one part of the path, also `a/../b`, `..` and `?x`.
    """
    if not name:
        raise errors.Invalid(f"invalid {kind.removesuffix('s')} name or ID: value is empty", "name one")
    return "/".join(("", kind, _quoted(name), *more))


def _quoted(name: str) -> str:
    # Dots alone would be taken for this folder and the one above.
    return quote(name, safe="") if name.strip(".") else name.replace(".", "%2E")


class EngineClient:
    """One daemon's Engine API. Raises the SwarmError of the answer's status; Unavailable if nobody answers."""

    def __init__(self, host: str) -> None:
        if host.startswith("unix://"):
            self._socket: Path | None = Path(host.removeprefix("unix://"))
            self._base = f"http://pyswarm/v{API_VERSION}"
        elif host.startswith("tcp://"):
            self._socket = None
            self._base = f"http://{host.removeprefix('tcp://')}/v{API_VERSION}"
        else:
            raise errors.Invalid(
                f"cannot use the host {host!r}", "give unix:///path/to/pyswarm.sock or tcp://address:port"
            )
        self._host = host
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> EngineClient:
        connector = aiohttp.UnixConnector(path=str(self._socket)) if self._socket else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        assert self._session is not None, "use EngineClient as a context manager"
        try:
            async with self._session.request(
                method,
                URL(self._base + path, encoded=True),
                params=query,
                json=body,
                data=data,
                headers=headers,
            ) as response:
                if response.status >= 400:
                    raise await _error_of(response)
                yield response
        except aiohttp.ClientConnectionError as error:
            raise errors.Unavailable(
                f"cannot reach the daemon at {self._host}: {_reason(error)}",
                'start it with "pyswarm daemon", or name its socket with --host',
            ) from error

    async def json(self, method: str, path: str, **options: Any) -> Any:
        """The decoded answer, None when it is empty."""
        async with self.request(method, path, **options) as response:
            raw = await response.read()
        return json.loads(raw) if raw.strip() else None

    async def get(self, path: str, **query: str | int) -> Any:
        return await self.json("GET", path, query=query)

    async def post(self, path: str, body: Any = None, **query: str | int) -> Any:
        return await self.json("POST", path, body=body, query=query)

    async def delete(self, path: str, **query: str | int) -> Any:
        return await self.json("DELETE", path, query=query)


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None)
    return str(cause.strerror if cause is not None and cause.strerror else error)


async def _error_of(response: aiohttp.ClientResponse) -> errors.SwarmError:
    raw = await response.read()
    try:
        answer = json.loads(raw)
        message, hint = str(answer["message"]), str(answer.get("hint", ""))
    except (ValueError, KeyError, TypeError):
        message, hint = raw.decode(errors="replace").strip() or f"status {response.status}", ""
    return _BY_STATUS.get(response.status, errors.Internal)(message, hint)
