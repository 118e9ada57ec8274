"""The one port that other nodes talk to: calls and streams by message tag, over mutual TLS.

Who the peer is comes from its certificate alone and is asked again on every call and stream message. Routes come
and go while it serves. Whatever a peer sends, the daemon stays healthy and logs one line.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, overload

from aiohttp import WSMsgType, web
from msgspec import Struct

from swarmcore.aio import Tasks
from swarmcore.errors import (
    Forbidden,
    Internal,
    Invalid,
    NotFound,
    NotManager,
    OutcomeUnknown,
    SwarmError,
    Unauthenticated,
    WrongRole,
)
from swarmcore.model.node import NodeRole
from swarmcore.process.faults import log_level, one_line, passes
from swarmcore.rpc.codec import (
    DEADLINE_HEADER,
    ERROR_HEADER,
    MAX_ANONYMOUS,
    MAX_FRAME,
    decode,
    encode,
    error_to_header,
    tag_of,
    to_wire,
)
from swarmcore.rpc.connection import Connection
from swarmcore.rpc.listener import TlsListener
from swarmcore.rpc.refusals import Refusals
from swarmcore.rpc.stream import Stream, StreamClosed

log = logging.getLogger(__name__)
Q = TypeVar("Q", bound=Struct)
Roles = frozenset[NodeRole]
BODY_DEADLINE = 30.0  # for a request's body, and for a stream's opening
CLOSE_DEADLINE = 0.5  # for calls that are being answered when the node stops
LONGEST_CALL = 300.0


class Identity(Protocol):
    """What a certificate says; pki's Identity is one."""

    @property
    def node_id(self) -> str: ...
    @property
    def role(self) -> NodeRole: ...
    @property
    def cluster_id(self) -> str: ...


class Peer(Struct, frozen=True, kw_only=True):
    """The node behind a certificate; `address` is the IP address that it calls from."""

    node_id: str
    role: NodeRole
    cluster_id: str
    address: str


class _Call(Struct, frozen=True):
    type: type[Struct]
    handler: Callable[[Any, Any], Awaitable[Struct | None]]
    roles: Roles | None


class _StreamRoute(Struct, frozen=True):
    type: type[Struct]
    handler: Callable[[Peer, Any, Stream[Any]], Awaitable[None]]
    roles: Roles
    incoming: Any
    limit: int


class RpcServer:
    """`identify` reads a certificate (DER) or raises; `admit` raises for a node that was removed."""

    def __init__(
        self,
        identify: Callable[[bytes], Identity],
        admit: Callable[[Peer], None],
        *,
        limit: int = MAX_FRAME,
        refusals: Refusals | None = None,
    ) -> None:
        self._identify = identify
        self._admit = admit
        self._limit = limit
        self._refusals = refusals or Refusals()
        self._calls: dict[str, _Call] = {}
        self._routes: dict[str, _StreamRoute] = {}
        self._streams: dict[Stream[Any], tuple[str, str]] = {}  # -> node id, tag
        self._tasks = Tasks()
        self._http: web.Server | None = None
        self._listener: TlsListener | None = None

    # -- routes -----------------------------------------------------------------------------------

    @overload
    def call(
        self, type: type[Q], handler: Callable[[Peer | None, Q], Awaitable[Struct | None]], *, roles: None
    ) -> None: ...

    @overload
    def call(
        self, type: type[Q], handler: Callable[[Peer, Q], Awaitable[Struct | None]], *, roles: Roles
    ) -> None: ...

    def call(
        self, type: type[Q], handler: Callable[..., Awaitable[Struct | None]], *, roles: Roles | None
    ) -> None:
        """Serve requests of this type to these roles; roles=None serves also peers without a certificate."""
        self._calls[tag_of(type)] = _Call(type, handler, roles)

    def stream(
        self,
        type: type[Q],
        handler: Callable[[Peer, Q, Stream[Any]], Awaitable[None]],
        *,
        roles: Roles,
        incoming: Any = None,
        limit: int | None = None,
    ) -> None:
        """Serve streams that this message opens. `incoming` is the type (or union) of what the peer sends after it.

        `limit`: bytes of one of its messages, if not those of all messages.
        The stream lives as long as the handler runs; a SwarmError of the handler is told to the peer.
        """
        self._routes[tag_of(type)] = _StreamRoute(
            type, handler, roles, incoming, min(limit or self._limit, self._limit)
        )

    def unregister(self, type: type[Struct]) -> None:
        """Harmless if it is not registered; open streams of this type end."""
        tag = tag_of(type)
        self._calls.pop(tag, None)
        self._routes.pop(tag, None)
        self._end(lambda owner: owner[1] == tag, "this node does not serve it any more")

    def drop(self, node_id: str) -> None:
        """End this node's streams at once; nothing that is still on its way from it counts."""
        self._end(lambda owner: owner[0] == node_id, "this node was removed from the swarm")

    def _end(self, chosen: Callable[[tuple[str, str]], bool], reason: str) -> None:
        for stream in [stream for stream, owner in self._streams.items() if chosen(owner)]:
            stream.end(reason)
            self._tasks.start(stream.close(reason), "rpc stream end")

    # -- life -------------------------------------------------------------------------------------

    @property
    def port(self) -> int:
        assert self._listener is not None, "not started"
        return self._listener.port

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext) -> None:
        http = self._http = web.Server(self._serve, access_log=None)
        self._listener = TlsListener(lambda: Connection(http, self._refusals), self._refusals)
        await self._listener.start(host, port, ssl_context)

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        await asyncio.gather(*(stream.close("this node stops") for stream in list(self._streams)))
        if self._http is not None:
            self._http.pre_shutdown()
            await self._http.shutdown(CLOSE_DEADLINE)
        await self._tasks.close()

    # -- requests ---------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        if isinstance(request.protocol, Connection):
            request.protocol.began()
        address = request.remote or ""
        try:
            match request.method, request.path.split("/"):
                case "POST", ["", "rpc", tag]:
                    return await self._serve_call(request, tag, address)
                case "GET", ["", "stream", tag]:
                    return await self._serve_stream(request, tag, address)
            self._refusals.note(address, "unknown path")
            raise NotFound("there is nothing at this address", "this port is for pyswarm nodes only")
        except SwarmError as error:
            if isinstance(error, Unauthenticated | Forbidden | WrongRole):
                self._refusals.note(address, str(error))
            return _refusal(error, close=isinstance(error, Unauthenticated | Invalid | NotFound))

    def _peer(self, request: web.BaseRequest, address: str) -> Peer | None:
        """Who calls, asked anew each time: a connection may outlive what its certificate was worth."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        der: bytes | None = tls.getpeercert(binary_form=True) if tls is not None else None
        if der is None:
            return None
        said = self._identify(der)
        peer = Peer(node_id=said.node_id, role=said.role, cluster_id=said.cluster_id, address=address)
        self._admit(peer)
        return peer

    def _allowed(self, request: web.BaseRequest, roles: Roles, address: str) -> Peer:
        peer = self._peer(request, address)
        if peer is None:
            raise Unauthenticated("no certificate was presented", "join the swarm first")
        if peer.role not in roles:
            raise WrongRole(
                f"node {peer.node_id} is a {peer.role}: this is only for {' and '.join(sorted(roles))}s"
            )
        return peer

    async def _serve_call(self, request: web.BaseRequest, tag: str, address: str) -> web.Response:
        route = self._calls.get(tag)
        if route is None:
            self._peer(request, address)  # a stranger hears that he is one, not what runs here
            raise NotManager("this node is not a manager", "ask another manager")
        peer = (
            self._peer(request, address)
            if route.roles is None
            else self._allowed(request, route.roles, address)
        )
        try:
            body = await self._body(request, self._limit if peer is not None else MAX_ANONYMOUS)
            message = decode(body, route.type)
        except Invalid as error:
            self._refusals.note(address, str(error))
            raise
        try:
            # Work for a caller that has gone would pile up while there is no quorum. A second longer than
            # he waits: the answer "too late" is his own clock's to give.
            async with asyncio.timeout(_deadline(request) + 1.0) as deadline:
                reply = await route.handler(peer, message)
        except TimeoutError:
            if not deadline.expired():
                log.exception("call failed", extra={"call": tag, "peer": address})
            return _refusal(OutcomeUnknown(f"{tag} took too long"), close=peer is None)
        except SwarmError as error:
            return _refusal(error, close=peer is None)
        except Exception as error:  # noqa: BLE001 - the edge of a request, logged below
            _log_failure("call failed", error, call=tag, peer=address)
            return _refusal(
                Internal(f"the manager failed to answer {tag}", "see its log"), close=peer is None
            )
        response = web.Response(body=encode(reply) if reply is not None else b"")
        if peer is None:
            response.force_close()  # strangers do not get to keep connections
        return response

    async def _body(self, request: web.BaseRequest, limit: int) -> bytes:
        if (request.content_length or 0) > limit:
            raise Invalid(f"the request is larger than {limit} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_DEADLINE):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise Invalid(f"the request is larger than {limit} bytes")
        except TimeoutError as error:
            raise Invalid("the request did not arrive in time") from error
        except web.RequestPayloadError as error:
            raise Invalid("the request is not valid HTTP") from error
        return bytes(body)

    # -- streams ----------------------------------------------------------------------------------

    async def _serve_stream(self, request: web.BaseRequest, tag: str, address: str) -> web.StreamResponse:
        route = self._routes.get(tag)
        if route is None:
            self._peer(request, address)
            raise NotManager("this node is not a manager", "ask another manager")
        peer = self._allowed(request, route.roles, address)
        # aiohttp refuses from the limit on, we only above it.
        socket = web.WebSocketResponse(timeout=1.0, max_msg_size=route.limit + 1, compress=False)
        await socket.prepare(request)
        transport = request.transport
        stream: Stream[Any] = Stream(
            socket,
            route.incoming,
            peer=f"node {peer.node_id}",
            limit=self._limit,
            recheck=lambda: self._allowed(request, route.roles, address),
            abort=transport.abort if transport is not None else None,
        )
        self._streams[stream] = (peer.node_id, tag)
        try:
            await self._run(route, tag, peer, socket, stream)
        finally:
            self._streams.pop(stream, None)
            await stream.close()
        return socket

    async def _run(
        self, route: _StreamRoute, tag: str, peer: Peer, socket: web.WebSocketResponse, stream: Stream[Any]
    ) -> None:
        try:
            async with asyncio.timeout(BODY_DEADLINE):
                first = await socket.receive()
        except TimeoutError:
            self._refusals.note(peer.address, "a stream was not opened in time")
            return
        if first.type is not WSMsgType.BINARY:
            if first.type is WSMsgType.ERROR:
                self._refusals.note(peer.address, f"broken stream: {first.data}")
            return
        try:
            await route.handler(peer, decode(first.data, route.type), stream)
        except StreamClosed as error:
            log.debug("stream ended", extra={"stream": tag, "peer": peer.node_id, "reason": str(error)})
        except SwarmError as error:
            if isinstance(error, Invalid | Unauthenticated | Forbidden | WrongRole):
                self._refusals.note(peer.address, str(error))
            await stream.fail(error)
        except Exception as error:  # noqa: BLE001 - the edge of a request, logged below
            _log_failure("stream failed", error, stream=tag, peer=peer.node_id)
            await stream.fail(Internal(f"the manager failed in {tag}", "see its log"))


def _log_failure(what: str, error: Exception, **facts: str) -> None:
    """With a traceback where it is a fault of ours, a warning where it passes (a full disk)."""
    fault = None if passes(error) else error
    log.log(log_level(error), what, exc_info=fault, extra={**facts, "reason": one_line(error)})


def _refusal(error: SwarmError, *, close: bool) -> web.Response:
    response = web.Response(
        status=error.status, body=encode(to_wire(error)), headers={ERROR_HEADER: error_to_header(error)}
    )
    if close:
        response.force_close()
    return response


def _deadline(request: web.BaseRequest) -> float:
    """What the caller said, within reason."""
    try:
        seconds = float(request.headers.get(DEADLINE_HEADER, LONGEST_CALL))
    except ValueError:
        return LONGEST_CALL
    return min(max(seconds, 0.0), LONGEST_CALL) if seconds == seconds else LONGEST_CALL  # not NaN
