"""Calls and streams to managers: mutual TLS, pooled connections, a deadline on everything, errors as raised there."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from types import UnionType
from typing import Any, NoReturn, TypeVar, overload

import aiohttp
from msgspec import Struct
from yarl import URL

from swarmcore.errors import Internal, Invalid, OutcomeUnknown, Unavailable
from swarmcore.rpc.codec import (
    DEADLINE_HEADER,
    ERROR_HEADER,
    MAX_FRAME,
    SERVER_NAME,
    ErrorMessage,
    decode,
    encode,
    error_from_header,
    tag_of,
)
from swarmcore.rpc.listener import tls_reason, tune
from swarmcore.rpc.stream import Stream

R = TypeVar("R", bound=Struct)
T = TypeVar("T")
IDLE = 60.0  # seconds that an unused connection is kept: less than the server does
CONNECT_SHARE = 0.75  # of a call's time, so that a dead address is told from a slow answer


class Untrusted(Unavailable):
    """TLS refused one side: no call has been made."""

    hint = "the address may belong to another swarm; else check the clocks and the certificates of both nodes"


class _Pool:
    """Connections made with one TLS context; `uses` counts the calls and streams that still need it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.uses = 0
        self.retired = False
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )


class RpcClient:
    """One per node. `context` is asked for every call, so a new context is used without dropping what runs."""

    def __init__(self, context: Callable[[], ssl.SSLContext], *, limit: int = MAX_FRAME) -> None:
        self._context = context
        self._limit = limit
        self._pool: _Pool | None = None
        self._retired: set[_Pool] = set()
        self._closed = False

    @overload
    async def call(self, address: str, request: Struct, reply: type[R], *, timeout: float = ...) -> R: ...

    @overload
    async def call(self, address: str, request: Struct, reply: None, *, timeout: float = ...) -> None: ...

    async def call(
        self, address: str, request: Struct, reply: type[R] | None, *, timeout: float = 5.0
    ) -> R | None:
        """The answer of the manager at `address`; reply=None for a request that is answered with nothing.

        Unavailable: it was not asked. OutcomeUnknown: it was asked but did not answer. Else the error it raised.
        """
        url = _url("rpc", address, tag_of(type(request)))
        body = encode(request)
        if len(body) > self._limit:
            raise Invalid(f"a request of {len(body)} bytes is larger than the limit of {self._limit}")
        async with self._using() as pool:
            try:
                async with pool.session.post(
                    url,
                    data=body,
                    headers={DEADLINE_HEADER: f"{timeout:g}"},
                    ssl=pool.context,
                    server_hostname=SERVER_NAME,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=timeout, connect=timeout * CONNECT_SHARE),
                ) as response:
                    answer = await self._read(response)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                _explain(error, address, timeout)
        if response.status != 200:
            raise _told(answer, response.status, address)
        if reply is None:
            return None
        try:
            message: R = decode(answer, reply)
        except Invalid as error:
            raise Internal(f"{address} answered {type(request).__name__} wrongly: {error}") from error
        return message

    @overload
    def stream(
        self, address: str, opening: Struct, *, incoming: type[T], timeout: float = ...
    ) -> AbstractAsyncContextManager[Stream[T]]: ...

    @overload
    def stream(
        self, address: str, opening: Struct, *, incoming: UnionType | None = ..., timeout: float = ...
    ) -> AbstractAsyncContextManager[Stream[Any]]: ...

    def stream(
        self, address: str, opening: Struct, *, incoming: Any = None, timeout: float = 5.0
    ) -> AbstractAsyncContextManager[Stream[Any]]:
        """`async with client.stream(…) as stream`: `timeout` is for opening it, then it lives as long as the block.

        `incoming` is the type (or union of types) of what the manager sends; None for raw bytes only.
        """
        return self._stream(address, opening, incoming, timeout)

    @asynccontextmanager
    async def _stream(
        self, address: str, opening: Struct, incoming: Any, timeout: float
    ) -> AsyncIterator[Stream[Any]]:
        url = _url("stream", address, tag_of(type(opening)))
        async with self._using() as pool:
            try:
                async with asyncio.timeout(timeout):
                    socket = await pool.session.ws_connect(
                        url,
                        ssl=pool.context,
                        server_hostname=SERVER_NAME,
                        max_msg_size=self._limit + 1,
                        timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                    )
            except aiohttp.WSServerHandshakeError as error:
                if error.headers is not None and (said := error.headers.get(ERROR_HEADER)):
                    raise error_from_header(said) from error
                raise Unavailable(f"{address} does not serve streams: HTTP {error.status}") from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                _explain(error, address, timeout)
            if (connection := socket.get_extra_info("socket")) is not None:
                tune(connection)
            stream: Stream[Any] = Stream(socket, incoming, peer=address, limit=self._limit)
            try:
                await stream.send(opening)
                yield stream
            finally:
                await stream.close()

    def refresh(self) -> None:
        """After the context was reloaded in place: new connections only; running calls and streams go on."""
        if self._pool is not None:
            self._pool.retired = True
            self._retired.add(self._pool)
            self._pool = None

    async def close(self) -> None:
        """Ends what still runs."""
        self._closed = True
        self.refresh()
        for pool in list(self._retired):
            await pool.session.close()
        self._retired.clear()

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[_Pool]:
        if self._closed:
            raise Unavailable("this node is stopping")
        context = self._context()
        if self._pool is not None and self._pool.context is not context:
            self.refresh()
        for idle in [pool for pool in self._retired if pool.uses == 0]:
            self._retired.discard(idle)
            await idle.session.close()
        pool = self._pool = self._pool or _Pool(context)
        pool.uses += 1
        try:
            yield pool
        finally:
            pool.uses -= 1
            if pool.retired and pool.uses == 0 and pool in self._retired:
                self._retired.discard(pool)
                await pool.session.close()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        answer = bytearray()
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > self._limit:
                raise Internal(f"{response.host} sent an answer larger than {self._limit} bytes")
        return bytes(answer)


@lru_cache(maxsize=1024)
def _url(kind: str, address: str, tag: str) -> URL:
    try:
        url = URL(f"https://{address}/{kind}/{tag}")
    except ValueError as error:
        raise Invalid(f"{address!r} is not an address", "write it as HOST:PORT") from error
    if not url.host or url.explicit_port is None or url.user is not None:
        raise Invalid(f"{address!r} is not an address", "write it as HOST:PORT")
    return url


def _told(answer: bytes, status: int, address: str) -> Exception:
    try:
        message: ErrorMessage = decode(answer, ErrorMessage)
    except Invalid:
        return Unavailable(f"{address} is not a pyswarm manager: it answers HTTP {status}")
    return message.error()


def _explain(error: Exception, address: str, timeout: float) -> NoReturn:
    """Raise what the failure of a connection means to the caller."""
    tls = error if isinstance(error, ssl.SSLError) else error.__cause__ or getattr(error, "os_error", None)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        raise Untrusted(f"{address} is not a manager of this swarm: {error.certificate_error}") from error
    if isinstance(tls, ssl.SSLError):
        # In TLS 1.3 the server judges our certificate after our side of the handshake is done.
        side = (
            "refuses this node's certificate" if "ALERT" in (tls.reason or "") else "does not speak our TLS"
        )
        raise Untrusted(f"{address} {side}: {tls_reason(tls)}") from error
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        raise Unavailable(f"cannot connect to {address}: no answer within {timeout:g} s") from error
    if isinstance(error, aiohttp.ClientConnectorError):
        why = error.os_error.strerror or str(error.os_error)
        raise Unavailable(f"cannot connect to {address}: {why}") from error
    if isinstance(error, TimeoutError):
        raise OutcomeUnknown(f"{address} did not answer within {timeout:g} s") from error
    # A manager that refuses our certificate looks like this too: asyncio sends no TLS alert.
    raise OutcomeUnknown(
        f"the connection to {address} was lost: {error}",
        "try again; if it happens each time, the manager's log says whether it refuses this node's certificate",
    ) from error
