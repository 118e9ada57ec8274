"""The agent and the dispatcher as they meet in a swarm: mTLS, two managers, a database, logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from manager.dispatcher.dispatcher import Dispatcher
from manager.leader import Leader
from manager.logs.broker import LogBroker
from manager.membership.ca_server import Admission
from manager.raft.proposer import Member
from manager.store.store import Store
from pki.contexts import Contexts
from pki.identity import identify
from pki.keystore import KeyStore
from pki.root import RootAuthority
from swarmcore.aio import owned
from swarmcore.clock import RealClock
from swarmcore.ids import new_id
from swarmcore.model.base import Object
from swarmcore.model.cluster import Cluster
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeState
from swarmcore.model.task import TaskState
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.logs import LogOptions, LogSelector
from swarmcore.rpc.peers import Remotes
from swarmcore.rpc.server import RpcServer
from tests.fakes.executor import FakeExecutor
from tests.fakes.raft import SoloRaft
from tests.manager.dispatcher.bench import secret, task
from tests.pki.nodes import CLUSTER, node
from tests.worker.sample import until
from worker.agent.agent import Agent, Notify
from worker.tasks.state_db import StateDb

CLOCK = RealClock()
S = TaskState


class Manager:
    """One manager's listener; both managers of a test share one store, one of them leads."""

    def __init__(self, keystore: KeyStore, store: Store) -> None:
        self.raft = SoloRaft(store, node_id=keystore.node_id)
        contexts = Contexts(keystore)
        self.context = contexts.server
        self.client = RpcClient(contexts.client_now)
        self.rpc = RpcServer(lambda der: identify(der, CLUSTER, CLOCK.now()), Admission(store, CLOCK))
        self.dispatcher = Dispatcher(store, self.raft, CLOCK, new_id)
        self.broker = LogBroker(
            store, Leader(store, self.raft, self.client), self.dispatcher, self.client, CLOCK, new_id
        )
        self.dispatcher.register(self.rpc)
        self.broker.register(self.rpc)
        self.address = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.rpc.start("127.0.0.1", 0, self.context)
        self.address = f"127.0.0.1:{self.rpc.port}"
        try:
            yield
        finally:
            await self.client.close()
            await self.rpc.close()

    def follow(self, leader: Manager) -> None:
        self.raft.leading = False
        self.raft.other_leader = Member(node_id=leader.raft.node_id, address=leader.address)


class Swarm:
    """A leader, a follower that shares its store, and one worker's machine."""

    def __init__(self, folder: Path) -> None:
        root = RootAuthority.create()
        self.folder = folder
        self.store = Store(CLOCK)
        managers = [node(root, folder, name, NodeRole.MANAGER) for name in ("m1", "m2")]
        self.leader, self.follower = (Manager(keystore, self.store) for keystore in managers)
        self.worker = node(root, folder, "n1")
        self.executor = FakeExecutor()
        self.nodes: list[Node] = []
        self.removed: list[str] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        raft = SoloRaft(self.store, node_id="m1")
        self.store.attach(raft)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.leader.running())
            await stack.enter_async_context(self.follower.running())
            self.follower.follow(self.leader)
            raft.member_table = {
                m.raft.node_id: Member(node_id=m.raft.node_id, address=m.address)
                for m in (self.leader, self.follower)
            }
            self.leader.raft.member_table = raft.member_table
            managers = [Node(id=name, role=NodeRole.MANAGER) for name in ("m1", "m2")]
            await self.put(Cluster(id=CLUSTER), Node(id="n1"), *managers)
            await stack.enter_async_context(owned(self.leader.dispatcher.run(), "dispatcher"))
            yield

    @asynccontextmanager
    async def agent(self, *addresses: str) -> AsyncIterator[Agent]:
        async def describe() -> NodeDescription:
            return NodeDescription(hostname="host1")

        client = RpcClient(Contexts(self.worker).client_now)
        db = StateDb(self.folder / "worker.db")
        await db.open()
        agent = Agent(
            client=client,
            remotes=Remotes(Random(1), addresses),
            executor=self.executor,
            db=db,
            describe=describe,
            clock=CLOCK,
            random=Random(1),
            notify=Notify(
                node=self.nodes.append,
                root=lambda _: None,
                managers=lambda _: None,
                removed=self.removed.append,
            ),
        )
        try:
            async with owned(agent.run(), "agent"):
                yield agent
        finally:
            await agent.close()
            await client.close()

    async def put(self, *objects: Object) -> None:
        async with self.store.update() as tx:
            for obj in objects:
                tx.put(obj)

    async def desire(self, task_id: str, desired: TaskState) -> None:
        async with self.store.update() as tx:
            found = tx.tasks.get(task_id)
            assert found is not None
            tx.put(replace(found, desired_state=desired))

    async def delete(self, object_id: str) -> None:
        async with self.store.update() as tx:
            tx.delete(object_id)

    def state(self, task_id: str) -> TaskState:
        found = self.store.view().tasks.get(task_id)
        assert found is not None
        return found.status.state

    @property
    def node_state(self) -> NodeState:
        found = self.store.view().nodes.get("n1")
        assert found is not None
        return found.status.state


@pytest.fixture
async def swarm(tmp_path: Path) -> AsyncIterator[Swarm]:
    made = Swarm(tmp_path)
    async with made.running():
        yield made


async def test_a_task_runs_and_ends_by_way_of_a_follower(swarm: Swarm) -> None:
    async with swarm.agent(swarm.follower.address) as agent:
        await swarm.put(secret("x1"), task("t1", secrets=("x1",)))
        await until(lambda: swarm.state("t1") is S.RUNNING)
        assert swarm.executor.containers["t1"].secrets == {"x1": b"hush"}
        assert swarm.node_state is NodeState.READY
        await swarm.desire("t1", S.SHUTDOWN)
        await until(lambda: swarm.state("t1") is S.SHUTDOWN)
        await swarm.delete("t1")
        await until(lambda: swarm.executor.removed == ["t1"] and len(agent.tasks) == 0)


async def test_fifty_tasks_start_with_few_log_entries(swarm: Swarm) -> None:
    async with swarm.agent(swarm.leader.address):
        await until(lambda: swarm.node_state is NodeState.READY)
        before = swarm.store.view().index
        await swarm.put(*(task(f"t{number}") for number in range(50)))
        await until(lambda: all(swarm.state(f"t{number}") is S.RUNNING for number in range(50)))
        assert swarm.store.view().index - before < 40


async def test_a_daemon_restart_moves_and_touches_nothing(swarm: Swarm) -> None:
    await swarm.put(task("t1"))
    async with swarm.agent(swarm.leader.address):
        await until(lambda: swarm.state("t1") is S.RUNNING)
    await until(lambda: swarm.node_state is NodeState.DISCONNECTED)
    async with swarm.agent():
        await until(lambda: swarm.node_state is NodeState.READY)
        await swarm.put(task("t2"))
        await until(lambda: swarm.state("t2") is S.RUNNING)
    assert swarm.executor.containers["t1"].log == ["prepare", "start"]


async def test_a_removed_node_learns_it_and_is_refused(swarm: Swarm) -> None:
    async with swarm.agent(swarm.leader.address):
        await until(lambda: swarm.node_state is NodeState.READY)
        await swarm.delete("n1")
        await until(lambda: len(swarm.removed) >= 2)


async def test_a_blacklisted_certificate_ends_the_session(swarm: Swarm) -> None:
    async with swarm.agent(swarm.leader.address):
        await until(lambda: swarm.node_state is NodeState.READY)
        async with swarm.store.update() as tx:
            cluster = tx.clusters.get(CLUSTER)
            assert cluster is not None
            ends = {"n1": CLOCK.now() + timedelta(days=1)}
            tx.put(replace(cluster, blacklisted_certificates=ends))
            tx.delete("n1")
        swarm.leader.rpc.drop("n1")
        await until(lambda: swarm.removed)


async def test_logs_reach_a_reader_at_the_follower(swarm: Swarm) -> None:
    async with swarm.agent(swarm.leader.address):
        await swarm.put(task("t1"))
        await until(lambda: swarm.state("t1") is S.RUNNING)
        for number in range(300):
            swarm.executor.write("t1", f"{number}\n")
        selector = LogSelector(service_ids=("s1",))
        lines = [m.data async for m in swarm.follower.broker.logs(selector, LogOptions())]
        assert lines == [f"{number}\n".encode() for number in range(300)]
        tail = [m.data async for m in swarm.follower.broker.logs(selector, LogOptions(tail=2))]
        assert tail == [b"298\n", b"299\n"]
