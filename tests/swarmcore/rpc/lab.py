"""One server with a few routes and clients of every kind, on 127.0.0.1 with real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from swarmcore.errors import Forbidden, NotFound
from swarmcore.model.node import NodeRole
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.server import Peer, RpcServer
from swarmcore.rpc.stream import Stream
from tests.swarmcore.rpc.certificates import TestSwarm, read_identity

LIMIT = 100_000
ANY = frozenset(NodeRole)
MANAGERS = frozenset({NodeRole.MANAGER})


class Echo(Struct, frozen=True, kw_only=True, tag="echo"):
    text: str = ""
    pad: bytes = b""


class Root(Struct, frozen=True, kw_only=True, tag="root"):
    pad: bytes = b""


class ForManagers(Struct, frozen=True, kw_only=True, tag="for-managers"):
    pass


class Fails(Struct, frozen=True, kw_only=True, tag="fails"):
    how: str = ""


class Hangs(Struct, frozen=True, kw_only=True, tag="hangs"):
    pass


class OpenEcho(Struct, frozen=True, kw_only=True, tag="open-echo"):
    greeting: str = ""


class Ping(Struct, frozen=True, kw_only=True, tag="ping"):
    number: int


class Pong(Struct, frozen=True, kw_only=True, tag="pong"):
    number: int
    text: str = ""


class Reply(Struct, frozen=True, kw_only=True):
    text: str
    peer: str = ""


class Lab:
    """`removed` are the nodes that the swarm threw out."""

    def __init__(self, folder: Path) -> None:
        self.swarm = TestSwarm(folder)
        self.removed: set[str] = set()
        self.ended: list[str] = []
        self.server = RpcServer(read_identity, self._admit, limit=LIMIT)
        self._clients: list[RpcClient] = []

    def _admit(self, peer: Peer) -> None:
        if peer.node_id in self.removed:
            raise Forbidden(f"node {peer.node_id} was removed from the swarm")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def client(self, node_id: str | None, role: NodeRole = NodeRole.WORKER) -> RpcClient:
        context = self.swarm.client(node_id, role)
        return self.client_of(lambda: context)

    def client_of(self, context: Callable[[], ssl.SSLContext]) -> RpcClient:
        client = RpcClient(context)
        self._clients.append(client)
        return client

    async def start(self) -> None:
        self.server.call(Echo, self._echo, roles=ANY)
        self.server.call(Root, self._root, roles=None)
        self.server.call(ForManagers, self._nothing, roles=MANAGERS)
        self.server.call(Fails, self._fails, roles=ANY)
        self.server.call(Hangs, self._hangs, roles=ANY)
        self.server.stream(OpenEcho, self._stream, roles=ANY, incoming=Ping | Fails)
        await self.server.start("127.0.0.1", 0, self.swarm.server())

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
        await self.server.close()

    async def is_healthy(self) -> bool:
        reply = await self.client("healthy").call(self.address, Echo(text="still there?"), Reply)
        return reply.text == "still there?"

    async def _echo(self, peer: Peer, request: Echo) -> Reply:
        return Reply(text=request.text, peer=f"{peer.role} {peer.node_id} at {peer.address}")

    async def _root(self, peer: Peer | None, request: Root) -> Reply:
        return Reply(text="root", peer=peer.node_id if peer else "")

    async def _nothing(self, peer: Peer, request: ForManagers) -> None:
        return None

    async def _fails(self, peer: Peer, request: Fails) -> None:
        if request.how == "user":
            raise NotFound("service web not found", "look at service ls")
        raise ZeroDivisionError("a bug of ours")

    async def _hangs(self, peer: Peer, request: Hangs) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(peer.node_id)

    async def _stream(self, peer: Peer, opening: OpenEcho, stream: Stream[Ping | Fails]) -> None:
        try:
            await stream.send(Pong(number=0, text=opening.greeting))
            while True:
                message = await stream.receive()
                if isinstance(message, Fails):
                    await self._fails(peer, message)
                else:
                    await stream.send(Pong(number=message.number))
        finally:
            self.ended.append(peer.node_id)


@asynccontextmanager
async def running_lab(folder: Path) -> AsyncIterator[Lab]:
    lab = Lab(folder)
    await lab.start()
    try:
        yield lab
    finally:
        await lab.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
