"""The agent against managers that speak the protocol by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
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
from swarmcore.model.overlay import OverlayEndpoint, OverlayNetwork
from swarmcore.model.task import Task, TaskState
from swarmcore.process.faults import Faults
from swarmcore.rpc.messages.logs import (
    LogBatch,
    LogOptions,
    LogsEnd,
    PublishLogs,
    SubscribeLogs,
    UnsubscribeLogs,
)
from swarmcore.rpc.messages.networks import NetworkDelta, NetworksApplied, NetworkUpdate
from swarmcore.rpc.messages.session import (
    Acknowledged,
    Assignments,
    DescriptionUpdate,
    Heartbeat,
    ManagerAddress,
    OpenSession,
    Redirect,
    SessionEnd,
    SessionInfo,
    StatusReports,
    ToDispatcher,
)
from swarmcore.rpc.peers import Remotes
from tests.fakes.executor import FakeContainer, FakeExecutor
from tests.fakes.networks import FakeNetworks
from tests.fakes.streams import StreamEnd, stream_pair
from tests.worker.sample import secret, task, until, with_secret
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


async def test_an_assigned_task_is_run_and_reported(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)
        host.executor.exit("t1", 1)
        await until(lambda: leader.states.get("t1") is S.FAILED)
    assert host.roots == [b"root"] and [node.id for node in host.nodes] == ["n1"]


async def test_incremental_assignments_add_change_and_remove_tasks(host: Host) -> None:
    async with host.agent() as agent:
        leader = await host.leader()
        await leader.full(task("t1"), task("t2"))
        await until(lambda: host.executor.running == {"t1", "t2"})
        await leader.assign(tasks=(task("t1", desired=S.SHUTDOWN), task("t3")))
        await until(lambda: host.executor.running == {"t2", "t3"})
        await leader.assign(removed_tasks=("t1", "t2"))
        await until(lambda: set(host.executor.removed) == {"t1", "t2"} and len(agent.tasks) == 1)


async def test_parts_of_one_assignment_are_applied_together(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.assign(full=True, more=True, tasks=(task("t1"),))
        await leader.assign(more=True, secrets=(secret(),))
        await leader.assign(tasks=(task("t2", container=with_secret()),))
        await until(lambda: host.executor.running == {"t1", "t2"})


async def test_a_gap_in_the_numbers_reopens_the_session(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        leader.number += 1
        await leader.assign(tasks=(task("t2"),))
        again = await host.leader()
        await again.full(task("t1"), task("t2"))
        await until(lambda: host.executor.running == {"t1", "t2"})
    assert host.executor.containers["t1"].log == ["prepare", "start"]


async def test_a_reconnect_with_the_same_tasks_touches_no_container(host: Host) -> None:
    async with host.agent():
        first = await host.leader()
        await first.full(task("t1"), task("t2"))
        await until(lambda: set(first.states.values()) == {S.RUNNING})
        await first.end.close()
        second = await host.leader()
        await second.full(task("t1"), task("t2"))
        await until(lambda: set(second.states.values()) == {S.RUNNING} and len(second.states) == 2)
        await second.assign(tasks=(task("t3"),))
        await until(lambda: host.executor.running == {"t1", "t2", "t3"})
    assert all(host.executor.containers[t].log == ["prepare", "start"] for t in ("t1", "t2"))


async def test_a_full_assignment_ends_what_it_does_not_name(host: Host) -> None:
    async with host.agent():
        first = await host.leader()
        await first.full(task("t1"), task("t2"))
        await until(lambda: host.executor.running == {"t1", "t2"})
        await first.end.close()
        await (await host.leader()).full(task("t2"))
        await until(lambda: host.executor.removed == ["t1"])


async def test_statuses_wait_while_there_is_no_leader(host: Host) -> None:
    async with host.agent():
        first = await host.leader()
        await first.full(task("t1"))
        await until(lambda: first.states.get("t1") is S.RUNNING)
        host.managers.up = set()
        await first.end.close()
        host.executor.exit("t1", 0)
        host.managers.up = {A}
        second = await host.leader()
        await until(lambda: second.states.get("t1") is S.COMPLETE)


async def test_a_restarted_agent_finds_managers_and_tasks_in_its_database(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"), task("t2"))
        await until(lambda: set(leader.states.values()) == {S.RUNNING})
    assert host.executor.running == {"t1", "t2"}, "containers outlive the daemon"
    host.executor.exit("t2", 4)  # while nobody looks
    host.managers.up = {B}
    async with host.agent(addresses=()):
        leader = await host.leader()
        await until(lambda: leader.states == {"t1": S.RUNNING, "t2": S.FAILED})
        await leader.full(task("t1"), task("t2", state=S.RUNNING))
    assert host.executor.containers["t1"].log == ["prepare", "start"]
    assert host.executor.swept == []


async def test_a_restarted_agent_works_without_any_manager_and_sweeps_strangers(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)
    host.executor.containers["stranger"] = FakeContainer(task("stranger"), {}, running=True)
    host.managers.up = set()
    async with host.agent() as agent:
        await until(lambda: host.executor.swept == ["stranger"])
        host.executor.exit("t1", 0)
        await until(lambda: agent.tasks.statuses["t1"].state is S.COMPLETE)
        assert not agent.connected


async def test_a_follower_sends_the_agent_to_the_leader(host: Host) -> None:
    host.managers.up = {A, B}
    async with host.agent() as agent:
        address, end = await host.session()
        assert address == A
        await end.send(Redirect(leader=ManagerAddress(node_id="m2", address=B)))
        address, end = await host.session()
        assert address == B
        await Leader(end).open()
        await until(lambda: agent.connected)


async def test_managers_that_name_each_other_do_not_make_the_agent_spin(host: Host) -> None:
    host.managers.up = {A, B}
    async with host.agent():
        for _ in range(6):
            address, end = await host.session()
            other = B if address == A else A
            await end.send(Redirect(leader=ManagerAddress(node_id="m", address=other)))
    assert len(host.managers.sessions) <= 8


async def test_a_silent_leader_is_given_up(host: Host) -> None:
    async with host.agent():
        _, end = await host.session()
        leader = Leader(end)
        await leader.open(period=0.02)
        await host.session()
    assert end.closed or end.peer.closed


async def test_the_agent_beats_and_reports_role_changes(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.info(period=0.01, role=NodeRole.MANAGER)
        await until(lambda: len(host.nodes) == 2)
        assert host.nodes[1].role is NodeRole.MANAGER
        await leader.info(period=0.01, role=NodeRole.MANAGER)
        await until(lambda: len(leader.got(Heartbeat)) >= 1)
    assert len(host.nodes) == 2


async def test_the_leaders_time_reaches_the_daemon(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.end.send(Heartbeat(time=1930000000.5))
        await until(lambda: host.times == [1930000000.5])


async def test_a_shorter_heartbeat_counts_from_when_it_is_told(host: Host) -> None:
    async with host.agent():
        _, end = await host.session()
        leader = Leader(end)
        await leader.open(period=600.0)
        host.tasks.start(leader.listen(), "leader")
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)  # the session is in full swing
        await leader.info(period=0.02)
        await until(lambda: len(leader.got(Heartbeat)) >= 3)


async def test_a_removed_node_tells_its_daemon(host: Host) -> None:
    async with host.agent():
        _, end = await host.session()
        await end.send(SessionEnd(reason="this node was removed from the swarm", forbidden=True))
        await until(lambda: host.removed)
    assert host.removed[0] == "this node was removed from the swarm"


async def test_a_changed_description_is_told(host: Host) -> None:
    async with host.agent(describe_period=0.01):
        leader = await host.leader()
        host.description = NodeDescription(hostname="renamed")
        await until(lambda: leader.got(DescriptionUpdate))
        assert leader.got(DescriptionUpdate)[0].description.hostname == "renamed"
    assert len(leader.got(DescriptionUpdate)) == 1


def shop(*names: str, reset: bool = True) -> NetworkDelta:
    return NetworkDelta(
        network_id="shop",
        reset=reset,
        network=OverlayNetwork(id="shop", name="shop") if reset else None,
        endpoints=tuple(OverlayEndpoint(id=name, node_id="n1", name=name) for name in names),
    )


async def test_network_updates_are_applied_together_and_confirmed(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        host.networks.open.clear()
        await leader.tell_networks(shop("a"), full=True, more=True)
        await leader.tell_networks(shop("b", reset=False))
        await leader.full(task("t1"))
        # The assignment does not wait for the kernel, but the tables it needs are known.
        await until(lambda: host.executor.running == {"t1"})
        assert set(host.networks.hearsay["shop"].endpoints) == {"a", "b"}
        await leader.tell_networks(shop("c", reset=False))
        await leader.tell_networks(shop("d", reset=False))
        await until(lambda: len(host.networks.hearsay["shop"].endpoints) == 4)
        assert leader.got(NetworksApplied) == []
        host.networks.open.set()
        await until(lambda: NetworksApplied(number=4) in leader.got(NetworksApplied))
        assert host.networks.tables["shop"].revision == 7
        assert host.networks.applications == 2


async def test_a_gap_in_network_updates_reopens_the_session(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.tell_networks(shop("a"), full=True)
        leader.network_number += 1
        await leader.tell_networks(shop("b", reset=False))
        again = await host.leader()
        await again.tell_networks(shop("c"), full=True)
        await until(lambda: again.got(NetworksApplied) == [NetworksApplied(number=1)])
        assert set(host.networks.tables["shop"].endpoints) == {"c"}


async def test_an_update_of_a_network_that_was_never_told_reopens_the_session(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.tell_networks(full=True)
        await leader.tell_networks(shop("a", reset=False))
        again = await host.leader()
        await again.tell_networks(shop("a"), full=True)
        await until(lambda: "shop" in host.networks.tables)


def lines(messages: list[Any]) -> Iterator[str]:
    for message in messages:
        if isinstance(message, LogBatch):
            yield from (line.data.decode() for line in message.messages)


async def read_logs(end: StreamEnd, into: list[Any]) -> None:
    try:
        while not (into and isinstance(into[-1], LogsEnd)):
            into.append(await end.receive())
    except Unavailable:
        return


async def test_logs_are_published_and_end_with_what_is_missing(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: host.executor.running)
        host.executor.write("t1", "one")
        host.executor.write("t1", "two", "stderr")
        await leader.end.send(
            SubscribeLogs(subscription_id="l1", task_ids=("t1", "none"), options=LogOptions(stderr=False))
        )
        await until(lambda: host.managers.publishers)
        opening, end = host.managers.publishers[0]
        got: list[Any] = []
        async with asyncio.timeout(10):
            await read_logs(end, got)
    assert opening == PublishLogs(subscription_id="l1", task_ids=("t1", "none"))
    assert list(lines(got)) == ["one"]
    assert got[-1] == LogsEnd(warnings=("task none: not on node n1",))


async def test_followed_logs_end_when_nobody_reads_them_any_more(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: host.executor.running)
        options = LogOptions(follow=True)
        await leader.end.send(SubscribeLogs(subscription_id="l1", task_ids=("t1",), options=options))
        await until(lambda: host.managers.publishers)
        got: list[Any] = []
        _, end = host.managers.publishers[0]
        reader = host.tasks.start(read_logs(end, got), "reader")
        host.executor.write("t1", "late")
        await until(lambda: list(lines(got)) == ["late"])
        await leader.end.send(UnsubscribeLogs(subscription_id="l1"))
        await until(reader.done)
    assert list(lines(got)) == ["late"]
