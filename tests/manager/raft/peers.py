"""Raft members as in production: real TLS on loopback, real journals, one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from manager.leader import Leader
from manager.membership.members import Members
from manager.raft.config import RaftConfig
from manager.raft.node import RaftNode
from manager.raft.open import open_raft
from manager.raft.proposer import Member
from manager.raft.recovery import Recovery
from manager.store.store import Store
from pki.contexts import Contexts
from pki.identity import identify
from pki.root import RootAuthority
from pki.seal import DataKeyFile
from swarmcore.clock import AgreedClock, RealClock
from swarmcore.model.generation import FIRST, Generation
from swarmcore.model.node import NodeRole
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.members import ReadIndex, ReadIndexReply
from swarmcore.rpc.server import Peer, RpcServer
from tests.pki.nodes import CLUSTER, node


class Log:
    """A state machine that remembers what it was told."""

    def __init__(self) -> None:
        self.data: list[bytes] = []

    def apply(self, data: bytes, index: int) -> None:
        self.data.append(data)

    def snapshot(self) -> Callable[[], bytes]:
        taken = list(self.data)
        return lambda: b"\n".join(taken)

    def restore(self, data: bytes, index: int) -> None:
        self.data = data.split(b"\n")


class WrongClock(RealClock):
    """The host's clock, `wrong` by so much."""

    def __init__(self) -> None:
        self.wrong = timedelta()

    def now(self) -> datetime:
        return super().now() + self.wrong


class RealMember:
    """One manager; `start` and `stop` as often as wanted, the directory stays."""

    def __init__(self, name: str, root: RootAuthority, folder: Path) -> None:
        self.name = name
        self.folder = folder / name
        self.own_clock = WrongClock()
        self.clock = AgreedClock(self.own_clock)
        self.contexts = Contexts(node(root, folder, name, NodeRole.MANAGER), self.clock.now)
        self.port = 0
        self.log = Log()
        self.fatal: list[Exception] = []
        self.superseded: list[str] = []
        self.removed: set[str] = set()
        self.config = RaftConfig()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def admit(self, peer: Peer) -> None:
        if peer.node_id in self.removed:
            raise AssertionError("the test does not remove nodes")

    async def listen(self) -> None:
        """The port is known from here on, and stays the same over restarts."""
        self.client = RpcClient(self.contexts.client_now)
        self.server = RpcServer(lambda der: identify(der, CLUSTER, self.clock.now()), self.admit)
        await self.server.start("127.0.0.1", self.port, self.contexts.server)
        self.port = self.server.port

    async def start(
        self,
        bootstrap: Mapping[str, str] | None = None,
        recovery: Recovery | None = None,
        joins: Generation = FIRST,
    ) -> RaftNode:
        self.log = Log()
        self.raft = await open_raft(
            self.folder / "raft",
            DataKeyFile(self.folder).load_or_create(),
            self.name,
            self.log,
            server=self.server,
            client=self.client,
            ask_leader=self._ask,
            on_fatal=self.fatal.append,
            config=self.config,
            bootstrap=bootstrap,
            recovery=recovery,
            cluster=CLUSTER,
            clock=self.clock,
            on_superseded=self.superseded.append,
        )
        self.raft.join_generation(joins)
        store = Store(RealClock())
        Members(store, self.raft, Leader(store, self.raft, self.client)).register(self.server)
        return self.raft

    async def _ask(self, address: str) -> int:
        return (await self.client.call(address, ReadIndex(), ReadIndexReply, timeout=2.0)).index

    async def stop(self) -> None:
        await self.raft.close()
        await self.client.close()
        await self.server.close()


async def leader_of(members: list[RealMember]) -> RealMember:
    """Waits until one of them leads."""
    waits = [asyncio.ensure_future(m.raft.wait_lead(True)) for m in members]  # noqa: TID251
    try:
        async with asyncio.timeout(10):
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return next(m for m in members if m.raft.is_leader)


@asynccontextmanager
async def trio_of(root: RootAuthority, folder: Path) -> AsyncIterator[list[RealMember]]:
    """m1 founded the swarm, m2 and m3 joined; all are stopped when the block ends."""
    members = [RealMember(name, root, folder) for name in ("m1", "m2", "m3")]
    for member in members:
        await member.listen()
    first, *others = members
    await first.start({"m1": first.address})
    await leader_of([first])
    for member in others:
        await member.start()
        await first.raft.add_member(Member(node_id=member.name, address=member.address))
    try:
        yield members
    finally:
        for member in members:
            await member.stop()
