"""A host whose managers are played by the test: what it is told, what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from swarmcore.aio import Backoff, Tasks, owned, supervise
from swarmcore.clock import RealClock
from swarmcore.errors import Unavailable
from swarmcore.model.node import Node, NodeDescription, NodeRole
from swarmcore.model.task import Task, TaskState
from swarmcore.process.faults import Faults
from swarmcore.rpc.messages.logs import (
    LogBatch,
    LogsEnd,
    PublishLogs,
)
from swarmcore.rpc.messages.networks import NetworkDelta, NetworkUpdate
from swarmcore.rpc.messages.session import (
    Acknowledged,
    Assignments,
    ManagerAddress,
    OpenSession,
    SessionInfo,
    StatusReports,
    ToDispatcher,
)
from swarmcore.rpc.peers import Remotes
from tests.fakes.executor import FakeExecutor
from tests.fakes.networks import FakeNetworks
from tests.fakes.streams import StreamEnd, stream_pair
from tests.worker.sample import until
from worker.agent.agent import Agent, Notify
from worker.tasks.state_db import StateDb

S = TaskState


A, B = "10.0.0.1:2377", "10.0.0.2:2377"


class Managers:
    """The network: who answers at which address. `sessions` and `publishers` are the managers' stream ends."""

    def __init__(self) -> None:
        self.up = {A}
        self.sessions: list[tuple[str, StreamEnd]] = []
        self.publishers: list[tuple[PublishLogs, StreamEnd]] = []

    @asynccontextmanager
    async def stream(
        self, address: str, opening: msgspec.Struct, *, incoming: Any = None, timeout: float = 5.0
    ) -> AsyncIterator[StreamEnd]:
        if address not in self.up:
            raise Unavailable(f"cannot connect to {address}")
        heard = ToDispatcher if isinstance(opening, OpenSession) else LogBatch | LogsEnd
        near, far = stream_pair(incoming, heard)
        if isinstance(opening, OpenSession):
            self.sessions.append((address, far))
        elif isinstance(opening, PublishLogs):
            self.publishers.append((opening, far))
        try:
            yield near
        finally:
            await near.close()

    async def call(self, address: str, request: msgspec.Struct, reply: None, *, timeout: float = 5.0) -> None:
        raise Unavailable(f"{address} answers no calls in these tests")


class Leader:
    """One session's far end, as a leader would hold it."""

    def __init__(self, end: StreamEnd) -> None:
        self.end = end
        self.number = 0
        self.network_number = 0
        self.received: list[Any] = []
        self.states: dict[str, TaskState] = {}
        self.acknowledging = True

    async def open(self, *, period: float = 1.0, role: NodeRole = NodeRole.WORKER) -> None:
        await self.info(period=period, role=role)

    async def info(self, *, period: float = 1.0, role: NodeRole = NodeRole.WORKER) -> None:
        managers = (ManagerAddress(node_id="m1", address=A), ManagerAddress(node_id="m2", address=B))
        await self.end.send(
            SessionInfo(
                session_id="s1",
                node=Node(id="n1", role=role),
                managers=managers,
                heartbeat_period=int(period * 1e9),
                root_ca=b"root",
            )
        )

    async def full(self, *tasks: Task, **more: Any) -> None:
        await self.assign(full=True, tasks=tasks, **more)

    async def assign(self, **content: Any) -> None:
        message = Assignments(applies_to=self.number, results_in=self.number + 1, **content)
        self.number += 1
        await self.end.send(message)

    async def tell_networks(self, *deltas: NetworkDelta, full: bool = False, more: bool = False) -> None:
        message = NetworkUpdate(
            applies_to=self.network_number,
            results_in=self.network_number + 1,
            revision=7,
            full=full,
            more=more,
            deltas=deltas,
        )
        self.network_number += 1
        await self.end.send(message)

    async def listen(self) -> None:
        while True:
            message = await self.end.receive()
            self.received.append(message)
            if isinstance(message, StatusReports):
                self.states.update((r.task_id, r.status.state) for r in message.reports)
                if self.acknowledging:
                    await self.end.send(Acknowledged(number=message.number))

    def got(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.received if isinstance(message, kind)]


class Host:
    """A machine: what stays when its daemon ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.managers = Managers()
        self.executor = FakeExecutor()
        self.networks = FakeNetworks()
        self.nodes: list[Node] = []
        self.roots: list[bytes] = []
        self.removed: list[str] = []
        self.times: list[float] = []
        self.description = NodeDescription(hostname="host1")
        self.undescribable: Exception | None = None
        self.faults = Faults()
        self.taken = 0
        self.tasks = Tasks()

    @asynccontextmanager
    async def agent(
        self, addresses: tuple[str, ...] = (A,), describe_period: float = 20.0
    ) -> AsyncIterator[Agent]:
        async def describe() -> NodeDescription:
            if self.undescribable is not None:
                raise self.undescribable
            return replace(self.description, fault=self.faults.text)

        db = StateDb(self.path / "worker.db", self.faults)
        agent = Agent(
            client=self.managers,
            remotes=Remotes(Random(1), addresses),
            executor=self.executor,
            db=db,
            describe=describe,
            clock=RealClock(),
            random=Random(1),
            notify=Notify(
                node=self.nodes.append,
                root=self.roots.append,
                managers=lambda _: None,
                removed=self.removed.append,
                time=self.times.append,
            ),
            networks=self.networks,
            describe_period=describe_period,
            faults=self.faults,
        )
        run = supervise(agent.run, "agent", RealClock(), Backoff(Random(1), 0.01), self.faults)
        try:
            async with owned(run, "agent"):
                yield agent
        finally:
            await agent.close()

    async def session(self) -> tuple[str, StreamEnd]:
        """The next session that the agent asks for."""
        await until(lambda: len(self.managers.sessions) > self.taken)
        self.taken += 1
        return self.managers.sessions[self.taken - 1]

    async def leader(self, *, listening: bool = True) -> Leader:
        _, end = await self.session()
        leader = Leader(end)
        await leader.open()
        if listening:
            self.tasks.start(self._listen(leader), "leader")
        return leader

    async def _listen(self, leader: Leader) -> None:
        try:
            await leader.listen()
        except Unavailable:
            return


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    yield made
    await made.tasks.close()
