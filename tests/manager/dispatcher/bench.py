"""A dispatcher on a raft of one, and agents that speak the protocol by hand, all in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import msgspec
from msgspec.structs import replace

from manager.dispatcher.dispatcher import Dispatcher
from manager.store.store import Store
from manager.store.tables import BY_TYPE
from swarmcore.aio import Tasks, owned
from swarmcore.errors import SwarmError
from swarmcore.model.base import Object
from swarmcore.model.cluster import Cluster, RootCA
from swarmcore.model.container import ContainerSpec, SecretReference
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeState, NodeStatus
from swarmcore.model.secret import Secret, SecretSpec
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.networks import NetworksApplied, NetworkUpdate, Tables, updated
from swarmcore.rpc.messages.session import (
    Assignments,
    Heartbeat,
    OpenSession,
    SessionInfo,
    StatusReport,
    StatusReports,
    ToAgent,
    ToDispatcher,
)
from swarmcore.rpc.server import Peer
from tests.fakes.raft import SoloRaft
from tests.fakes.streams import StreamEnd, stream_pair
from tests.fakes.virtual_time import LoopClock

DESCRIPTION = NodeDescription(hostname="host1")


def node(node_id: str = "n1", state: NodeState = NodeState.UNKNOWN, role: NodeRole = NodeRole.WORKER) -> Node:
    return Node(id=node_id, status=NodeStatus(state=state), role=role)


def task(
    task_id: str = "t1",
    *,
    node_id: str = "n1",
    state: TaskState = TaskState.ASSIGNED,
    desired: TaskState = TaskState.RUNNING,
    secrets: tuple[str, ...] = (),
) -> Task:
    references = tuple(SecretReference(secret_id=secret_id, secret_name=secret_id) for secret_id in secrets)
    return Task(
        id=task_id,
        service_id="s1",
        slot=1,
        node_id=node_id,
        spec=TaskSpec(container_spec=ContainerSpec(image="demo", secrets=references)),
        status=TaskStatus(state=state),
        desired_state=desired,
    )


def secret(secret_id: str, data: bytes = b"hush") -> Secret:
    return Secret(id=secret_id, spec=SecretSpec(name=secret_id, data=data))


class Agent:
    """The far end of one session: what was received, and words to send."""

    def __init__(self, end: StreamEnd, tasks: Tasks, beating: bool) -> None:
        self.end = end
        self.received: list[Any] = []
        self.tasks: dict[str, Task] = {}
        self.secrets: set[str] = set()
        self.at: int | None = None
        self.networks: Tables = {}
        self.networks_at: int | None = None
        self.parts: Tables | None = None
        self.confirming = True
        self.closed = False
        tasks.start(self._listen(), "agent listens")
        self.beats = tasks.start(self._beat(), "agent beats") if beating else None

    async def _listen(self) -> None:
        try:
            while True:
                message = await self.end.receive()
                self.received.append(message)
                if isinstance(message, Assignments):
                    self._apply(message)
                if isinstance(message, NetworkUpdate):
                    await self._learn(message)
        except SwarmError:
            self.closed = True

    def _apply(self, message: Assignments) -> None:
        if message.full:
            self.tasks, self.secrets = {}, set()
        else:
            assert message.applies_to == self.at
        self.at = message.results_in
        self.tasks.update((t.id, t) for t in message.tasks)
        self.secrets.update(s.id for s in message.secrets)
        for task_id in message.removed_tasks:
            del self.tasks[task_id]
        self.secrets.difference_update(message.removed_secrets)

    async def _learn(self, message: NetworkUpdate) -> None:
        assert message.full or message.applies_to == self.networks_at
        self.networks_at = message.results_in
        self.parts = updated(self.networks if self.parts is None else self.parts, message)
        if not message.more:
            self.networks, self.parts = self.parts, None
            if self.confirming:
                await self.confirm()

    async def confirm(self) -> None:
        """What has been received is in force now."""
        assert self.networks_at is not None
        await self.end.send(NetworksApplied(number=self.networks_at))

    async def _beat(self) -> None:
        try:
            while True:
                await asyncio.sleep(1)
                await self.end.send(Heartbeat())
        except SwarmError:
            return

    def silence(self) -> None:
        assert self.beats is not None
        self.beats.cancel()

    async def report(self, number: int, **states: TaskState) -> None:
        reports = tuple(
            StatusReport(task_id=task_id, status=TaskStatus(state=state, timestamp=LoopClock().now()))
            for task_id, state in states.items()
        )
        await self.end.send(StatusReports(number=number, reports=reports))

    def got(self, kind: type[Any]) -> list[Any]:
        return [message for message in self.received if isinstance(message, kind)]

    @property
    def info(self) -> SessionInfo:
        found: SessionInfo = self.got(SessionInfo)[-1]
        return found


class Bench:
    def __init__(self) -> None:
        self.store = Store(LoopClock())
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        ids = count(1)
        self.dispatcher = Dispatcher(
            self.store, self.raft, LoopClock(), lambda: f"session{next(ids)}", orphan_after=600
        )
        self.tasks = Tasks()
        self.ended: list[str] = []

    async def put(self, *objects: Object) -> None:
        """As if some loop had written it: versions of existing objects are taken over."""

        async with self.store.update() as tx:
            for obj in objects:
                old = tx.table(
                    BY_TYPE[type(obj)].name,
                ).get(obj.id)
                tx.put(obj if old is None else replace(obj, version=old.version))

    async def delete(self, *ids: str) -> None:
        async with self.store.update() as tx:
            for object_id in ids:
                tx.delete(object_id)

    async def desire(self, task_id: str, desired: TaskState) -> None:
        async with self.store.update() as tx:
            found = tx.tasks.get(task_id)
            assert found is not None
            tx.put(replace(found, desired_state=desired))

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        async with owned(self.dispatcher.run(), "dispatcher"):
            await self.until(lambda: self.dispatcher._leading)
            yield

    async def connect(
        self, node_id: str = "n1", *, beating: bool = True, description: NodeDescription = DESCRIPTION
    ) -> Agent:
        near, far = stream_pair(ToDispatcher, ToAgent)
        peer = Peer(node_id=node_id, role=NodeRole.WORKER, cluster_id="c1", address="10.0.0.7")
        self.tasks.start(self._serve(peer, near, description), f"session of {node_id}")
        agent = Agent(far, self.tasks, beating)
        await self.until(lambda: agent.received or agent.closed)
        return agent

    async def _serve(self, peer: Peer, near: StreamEnd, description: NodeDescription) -> None:
        try:
            opening = OpenSession(description=description)
            await self.dispatcher.serve(peer, opening, near)
        except SwarmError as error:
            self.ended.append(str(error))
        finally:
            await near.close()

    def node(self, node_id: str = "n1") -> Node:
        found = self.store.view().nodes.get(node_id)
        assert found is not None
        return found

    def task(self, task_id: str = "t1") -> Task:
        found = self.store.view().tasks.get(task_id)
        assert found is not None
        return found

    async def until(self, condition: Callable[[], object], seconds: float = 60) -> float:
        """Wait for it; returns how long that took."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        while not condition():
            assert loop.time() - start < seconds, "it never happened"
            await asyncio.sleep(0.001)
        return loop.time() - start

    async def close(self) -> None:
        await self.tasks.close()


@asynccontextmanager
async def bench(objects: Iterable[Object] = ()) -> AsyncIterator[Bench]:
    """A leading dispatcher."""
    made = Bench()
    cluster = Cluster(id="c1", root_ca=RootCA(ca_cert=b"root"))
    await made.put(cluster, *objects)
    try:
        async with made.leading():
            yield made
    finally:
        await made.close()


def encoded(message: msgspec.Struct) -> int:
    return len(msgspec.msgpack.encode(message))
