"""Collecting service logs, against agents that are a list of what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from manager.leader import Leader
from manager.logs.broker import INCOMPLETE, LogBroker
from manager.logs.pieces import MAX_LINE
from manager.logs.subscription import BUFFERED_BATCHES
from manager.raft.proposer import Member
from manager.store.store import Store
from swarmcore.aio import Tasks
from swarmcore.clock import RealClock
from swarmcore.errors import Forbidden, NoLeader, NotFound, SwarmError, Unavailable
from swarmcore.model.node import Node, NodeRole
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.logs import (
    FromPublisher,
    LogBatch,
    LogMessage,
    LogOptions,
    LogSelector,
    LogsEnd,
    LogsRequest,
    LogStream,
    PublishLogs,
    SubscribeLogs,
    UnsubscribeLogs,
)
from swarmcore.rpc.server import Peer
from tests.fakes.raft import SoloRaft
from tests.fakes.streams import StreamEnd, stream_pair
from tests.manager.dispatcher.bench import task
from tests.worker.sample import until

S = TaskState
SERVICE = LogSelector(service_ids=("s1",))


def line(text: str, task_id: str = "t1", second: int = 0) -> LogMessage:
    return LogMessage(
        node_id="forged",
        service_id="s1",
        task_id=task_id,
        stream=LogStream.STDOUT,
        timestamp=datetime(2030, 1, 1, 0, 0, second, tzinfo=UTC),
        data=text.encode(),
    )


class Link:
    """The dispatcher as the broker sees it."""

    def __init__(self) -> None:
        self.up = {"n1", "n2"}
        self.told: list[tuple[str, Any]] = []
        self.listeners: list[Any] = []

    def tell(self, node_id: str, message: Any) -> bool:
        if node_id in self.up:
            self.told.append((node_id, message))
        return node_id in self.up

    def listen(self, listener: Any) -> None:
        self.listeners.append(listener)

    def session(self, node_id: str, connected: bool) -> None:
        (self.up.add if connected else self.up.discard)(node_id)
        for listener in self.listeners:
            listener(node_id, connected)

    def asked(self, node_id: str) -> list[SubscribeLogs]:
        return [m for to, m in self.told if to == node_id and isinstance(m, SubscribeLogs)]


class Bench:
    def __init__(self) -> None:
        self.link = Link()
        self.store = Store(RealClock())
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.broker = self.make(self.raft, self.link, self)
        self.tasks = Tasks()
        self.lines: list[LogMessage] = []
        self.refusals: list[SwarmError] = []

    def make(self, raft: SoloRaft, link: Link, client: Any) -> LogBroker:
        ids = count(1)
        leader = Leader(self.store, raft, client)
        return LogBroker(self.store, leader, link, client, RealClock(), lambda: f"l{next(ids)}")

    @asynccontextmanager
    async def stream(
        self, address: str, opening: msgspec.Struct, *, incoming: Any = None, timeout: float = 5.0
    ) -> AsyncIterator[StreamEnd]:
        """A follower's connection to the leader."""
        assert isinstance(opening, LogsRequest)
        near, far = stream_pair(incoming, LogsEnd)
        peer = Peer(node_id="m2", role=NodeRole.MANAGER, cluster_id="c1", address="10.0.0.2")
        self.tasks.start(self._serve(peer, opening, far), "leader")
        try:
            yield near
        finally:
            await near.close()

    async def _serve(self, peer: Peer, opening: LogsRequest, far: StreamEnd) -> None:
        try:
            await self.broker.serve_follower(peer, opening, far)
        except SwarmError as error:
            self.refusals.append(error)
        finally:
            await far.close()

    def read(self, selector: LogSelector, options: LogOptions, broker: LogBroker | None = None) -> Any:
        return self.tasks.start(self._read(selector, options, broker or self.broker), "reader")

    async def _read(self, selector: LogSelector, options: LogOptions, broker: LogBroker) -> None:
        async for message in broker.logs(selector, options):
            self.lines.append(message)

    def publisher(self, node_id: str, *task_ids: str, subscription: str = "l1") -> tuple[StreamEnd, Any]:
        near, far = stream_pair(FromPublisher, LogsEnd)
        peer = Peer(node_id=node_id, role=NodeRole.WORKER, cluster_id="c1", address="10.0.0.7")
        opening = PublishLogs(subscription_id=subscription, task_ids=task_ids)
        serving = self.tasks.start(
            self.broker.serve_publisher(peer, opening, near),
            f"publisher of {node_id}",
        )
        return far, serving

    @property
    def texts(self) -> list[str]:
        return [message.data.decode() for message in self.lines]

    async def put(self, *tasks: Any) -> None:
        async with self.store.update() as tx:
            for item in tasks:
                old = tx.tasks.get(item.id)
                tx.put(item if old is None else replace(item, version=old.version))


@pytest.fixture
async def b() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.store.update() as tx:
        tx.put(Node(id="m2", role=NodeRole.MANAGER))
    await bench.put(task("t1", state=S.RUNNING), task("t2", node_id="n2", state=S.FAILED))
    await bench.put(task("t3", state=S.PREPARING), task("t4", state=S.REJECTED))
    yield bench
    await bench.tasks.close()


async def test_logs_of_all_nodes_are_merged_and_end_when_all_have_ended(b: Bench) -> None:
    reading = b.read(SERVICE, LogOptions())
    await until(lambda: b.link.asked("n1") and b.link.asked("n2"))
    assert b.link.asked("n1")[0].task_ids == ("t1",)
    one, _ = b.publisher("n1", "t1")
    two, _ = b.publisher("n2", "t2")
    await one.send(LogBatch(messages=(line("a"), line("b"))))
    await one.send(LogsEnd())
    await until(lambda: b.texts == ["a", "b"])
    assert not reading.done()
    await two.send(LogBatch(messages=(line("c", "t2"),)))
    await two.send(LogsEnd())
    await reading
    assert b.texts == ["a", "b", "c"]
    assert [message.node_id for message in b.lines] == ["n1", "n1", "n2"]


async def test_a_service_without_started_tasks_has_no_logs(b: Bench) -> None:
    await b.read(LogSelector(task_ids=("t3", "t4", "nothing")), LogOptions())
    assert b.lines == []


async def test_a_node_that_is_down_is_named_in_a_last_line(b: Bench) -> None:
    b.link.up = {"n1"}
    reading = b.read(SERVICE, LogOptions())
    await until(lambda: b.link.asked("n1"))
    one, _ = b.publisher("n1", "t1")
    await one.send(LogBatch(messages=(line("a"),)))
    await one.send(LogsEnd(warnings=("task t9: gone",)))
    await reading
    assert b.texts == ["a", INCOMPLETE + "node n2 is not available; task t9: gone\n"]
    assert b.lines[-1].stream is LogStream.STDERR


async def test_a_broken_publisher_is_named_too(b: Bench) -> None:
    reading = b.read(LogSelector(task_ids=("t1",)), LogOptions())
    await until(lambda: b.link.asked("n1"))
    one, serving = b.publisher("n1", "t1")
    await one.close()
    await reading
    with pytest.raises(Unavailable):
        await serving
    assert b.texts == [INCOMPLETE + "node n1 disconnected unexpectedly\n"]


async def test_a_session_that_ends_before_its_stream_is_named(b: Bench) -> None:
    reading = b.read(LogSelector(task_ids=("t1",)), LogOptions())
    await until(lambda: b.link.asked("n1"))
    b.link.session("n1", False)
    await reading
    assert b.texts == [INCOMPLETE + "node n1 disconnected unexpectedly\n"]


async def test_only_what_was_asked_of_a_node_may_be_published(b: Bench) -> None:
    b.read(SERVICE, LogOptions())
    await until(lambda: b.link.asked("n2"))
    _, foreign = b.publisher("n1", "t2")
    with pytest.raises(Forbidden):
        await foreign
    _, unknown = b.publisher("n1", "t1", subscription="nobody")
    with pytest.raises(NotFound):
        await unknown
    one, _ = b.publisher("n1", "t1")
    await one.send(LogBatch(messages=(line("forged", "t2"), line("real"))))
    await until(lambda: b.texts == ["real"])


async def test_following_includes_tasks_that_start_later(b: Bench) -> None:
    reading = b.read(SERVICE, LogOptions(follow=True, tail=5))
    await until(lambda: b.link.asked("n1"))
    await b.put(task("t3", state=S.RUNNING))
    await until(lambda: len(b.link.asked("n1")) == 2)
    assert b.link.asked("n1")[1].task_ids == ("t3",)
    one, _ = b.publisher("n1", "t3")
    await one.send(LogBatch(messages=(line("new", "t3"),)))
    await until(lambda: b.texts == ["new"])
    assert not reading.done()


async def test_following_goes_on_after_a_reconnect_without_repeating_lines(b: Bench) -> None:
    b.read(LogSelector(task_ids=("t1",)), LogOptions(follow=True))
    await until(lambda: b.link.asked("n1"))
    one, _ = b.publisher("n1", "t1")
    await one.send(LogBatch(messages=(line("a", second=1), line("b", second=2))))
    await until(lambda: b.texts == ["a", "b"])
    await one.close()
    b.link.session("n1", False)
    b.link.session("n1", True)
    await until(lambda: len(b.link.asked("n1")) == 2)
    assert b.link.asked("n1")[1].options.since == datetime(2030, 1, 1, 0, 0, 2, tzinfo=UTC)
    again, _ = b.publisher("n1", "t1")
    await again.send(LogBatch(messages=(line("b", second=2), line("c", second=3))))
    await until(lambda: b.texts == ["a", "b", "c"])


async def test_times_without_a_zone_and_lines_without_end_are_made_readable(b: Bench) -> None:
    b.read(LogSelector(task_ids=("t1",)), LogOptions(follow=True))
    await until(lambda: b.link.asked("n1"))
    one, _ = b.publisher("n1", "t1")
    odd = replace(line("a"), timestamp=datetime(2030, 1, 1), data=b"x" * (MAX_LINE + 1))
    await one.send(LogBatch(messages=(odd, line("b", second=2))))
    await until(lambda: len(b.texts) == 2)
    assert len(b.texts[0]) == MAX_LINE and b.texts[1] == "b"
    await one.close()
    b.link.session("n1", False)
    b.link.session("n1", True)
    await until(lambda: len(b.link.asked("n1")) == 2)
    again, _ = b.publisher("n1", "t1")
    await again.send(LogBatch(messages=(odd, line("c", second=3))))
    await until(lambda: b.texts[2:] == ["c"])


async def test_a_reader_that_leaves_ends_the_publishing(b: Bench) -> None:
    reading = b.read(LogSelector(task_ids=("t1",)), LogOptions(follow=True))
    await until(lambda: b.link.asked("n1"))
    reading.cancel()
    await until(lambda: any(isinstance(m, UnsubscribeLogs) for _, m in b.link.told))
    assert not b.broker._subscriptions


async def test_a_slow_reader_slows_the_agents_and_fills_no_memory(b: Bench) -> None:
    logs = b.broker.logs(LogSelector(task_ids=("t1",)), LogOptions(follow=True))
    first = b.tasks.start(anext(logs), "first")
    await until(lambda: b.link.asked("n1"))
    one, _ = b.publisher("n1", "t1")
    for number in range(5 * BUFFERED_BATCHES):
        await one.send(LogBatch(messages=(line(str(number)),)))
    await first
    assert len(b.broker._subscriptions.find("l1")._batches) <= BUFFERED_BATCHES
    got = [int((await anext(logs)).data) for _ in range(5 * BUFFERED_BATCHES - 1)]
    assert got == list(range(1, 5 * BUFFERED_BATCHES))
    await logs.aclose()


async def test_a_follower_manager_streams_from_the_leader(b: Bench) -> None:
    elsewhere = SoloRaft(b.store, node_id="m2")
    elsewhere.leading = False
    elsewhere.other_leader = Member(node_id="manager1", address="10.0.0.1:2377")
    follower = b.make(elsewhere, Link(), b)
    b.link.up = {"n1"}
    reading = b.read(SERVICE, LogOptions(), follower)
    await until(lambda: b.link.asked("n1"))
    one, _ = b.publisher("n1", "t1")
    await one.send(LogBatch(messages=(line("a"),)))
    await one.send(LogsEnd())
    await reading
    assert b.texts == ["a", INCOMPLETE + "node n2 is not available\n"]


async def test_a_reader_at_a_follower_that_leaves_is_noticed_by_the_leader(b: Bench) -> None:
    elsewhere = SoloRaft(b.store, node_id="m2")
    elsewhere.leading = False
    elsewhere.other_leader = Member(node_id="manager1", address="10.0.0.1:2377")
    reading = b.read(SERVICE, LogOptions(follow=True), b.make(elsewhere, Link(), b))
    await until(lambda: b.link.asked("n1"))
    reading.cancel()
    await until(lambda: not b.broker._subscriptions)


async def test_without_a_leader_there_are_no_logs(b: Bench) -> None:
    b.raft.leading = False
    with pytest.raises(NoLeader):
        await anext(b.broker.logs(SERVICE, LogOptions()))
    await asyncio.sleep(0)
