"""aiohttp's side of one connection, with the peer's faults logged as ours are not: one line, no traceback."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError

from swarmcore.rpc.refusals import Refusals

FIRST_REQUEST_DEADLINE = 15.0
KEEP_ALIVE = 300.0  # longer than the clients', so that never a request meets a closing connection
_PEERS_FAULT = (HttpProcessingError, web.RequestPayloadError, ClientPayloadError, ConnectionError)


class Connection(web.RequestHandler):
    """Ends a connection that shook hands but asks nothing."""

    __slots__ = ("_address", "_patience", "_refusals")

    def __init__(self, server: web.Server, refusals: Refusals) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # aiohttp's way to say: no access log
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=1.0,
            auto_decompress=False,  # no message is compressed: no bombs
        )
        self._refusals = refusals
        self._address = ""
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._address = (transport.get_extra_info("peername") or ("",))[0]
        self._patience = asyncio.get_running_loop().call_later(FIRST_REQUEST_DEADLINE, self._give_up)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.began()
        super().connection_lost(exc)

    def began(self) -> None:
        """The first request has arrived."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._refusals.note(self._address, "connected but sent no request")
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if isinstance(exc, _PEERS_FAULT):
            self._refusals.note(self._address, "the request is not valid HTTP")
        return super().handle_error(request, status, exc, message)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        if not isinstance(kw.get("exc_info"), _PEERS_FAULT):
            super().log_exception(*args, **kw)
