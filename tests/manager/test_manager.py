from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random

import pytest

from manager.manager import Loop, LoopFactory, Manager
from manager.raft.proposer import Member
from manager.store.store import Store
from manager.store.tx import Overtaken
from swarmcore.aio import owned
from swarmcore.errors import NoLeader, OutcomeUnknown
from swarmcore.model.node import Node, NodeState, NodeStatus
from swarmcore.model.service import ReplicatedService, Service, ServiceMode, ServiceSpec
from swarmcore.model.task import TaskState
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual


class Probe:
    """A loop that notes its life; `behaviour` runs in it, and it waits for ever after that."""

    def __init__(self, story: list[str], behaviour: Callable[[], Awaitable[None]] | None = None) -> None:
        self._story, self._behaviour = story, behaviour

    async def run(self) -> None:
        self._story.append("runs")
        try:
            if self._behaviour is not None:
                await self._behaviour()
            await asyncio.Event().wait()
        finally:
            self._story.append("ended")


class Scene:
    def __init__(self, *, leading: bool = True, members: int = 1) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.raft.leading = leading
        for i in range(2, members + 1):
            self.raft.member_table[f"manager{i}"] = Member(node_id=f"manager{i}", address=f"10.0.0.{i}:2377")
        self.store.attach(self.raft)

    @asynccontextmanager
    async def managing(self, *loops: LoopFactory) -> AsyncIterator[None]:
        manager = Manager(self.store, self.raft, self.clock, loops, random=Random(1))
        async with owned(manager.run(), "manager") as task:
            yield
            await asyncio.sleep(0)
            assert not task.done()


def test_loops_run_while_this_manager_leads_and_are_fresh_each_time() -> None:
    async def tale() -> None:
        scene, story, made = Scene(leading=False), list[str](), list[Loop]()

        def probe() -> Loop:
            made.append(Probe(story))
            return made[-1]

        async with scene.managing(probe):
            await asyncio.sleep(1)
            assert story == []
            scene.raft.lead(True)
            await asyncio.sleep(1)
            assert story == ["runs"]
            scene.raft.lead(False)
            await asyncio.sleep(1)
            assert story == ["runs", "ended"]
            scene.raft.lead(True)
            await asyncio.sleep(1)
        assert story == ["runs", "ended", "runs", "ended"]
        assert len(made) == 2

    run_virtual(tale())


def test_a_factory_may_give_the_same_loop_again() -> None:
    async def tale() -> None:
        scene, story = Scene(), list[str]()
        probe = Probe(story)
        async with scene.managing(lambda: probe):
            await asyncio.sleep(1)
            scene.raft.lead(False)
            await asyncio.sleep(1)
            scene.raft.lead(True)
            await asyncio.sleep(1)
        assert story == ["runs", "ended", "runs", "ended"]

    run_virtual(tale())


async def fail() -> None:
    await asyncio.sleep(1)
    raise ValueError("a fault of ours")


def test_a_failing_loop_ends_all_and_hands_the_lead_over(caplog: pytest.LogCaptureFixture) -> None:
    async def tale() -> None:
        scene, good, bad = Scene(members=3), list[str](), list[str]()
        async with scene.managing(lambda: Probe(good), lambda: Probe(bad, fail)):
            await asyncio.sleep(60)
            assert not scene.raft.is_leader
            assert good == bad == ["runs", "ended"]

    run_virtual(tale())
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.getMessage() == "a leader's loop failed"
    assert record.exc_info is not None
    assert "a fault of ours" in repr(record.exc_info[1])


def test_alone_a_manager_starts_its_loops_again_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    async def tale() -> None:
        scene, times = Scene(), list[float]()

        async def behave() -> None:
            times.append(scene.clock.monotonic())
            raise ValueError("again")

        async with scene.managing(lambda: Probe([], behave)):
            await asyncio.sleep(120)
            assert scene.raft.is_leader
        pauses = [later - earlier for earlier, later in pairwise(times)]
        assert max(pauses[:3]) < 1.5
        assert max(pauses[3:]) > 2
        assert max(pauses) <= 8

    run_virtual(tale())
    assert any("stays here" in r.getMessage() for r in caplog.records)


class Ends:
    async def run(self) -> None:
        await asyncio.sleep(1)


def test_a_loop_that_ends_by_itself_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def tale() -> None:
        scene = Scene(members=3)
        async with scene.managing(Ends):
            await asyncio.sleep(60)
            assert not scene.raft.is_leader

    run_virtual(tale())
    assert any(r.levelno >= logging.ERROR for r in caplog.records)


@pytest.mark.parametrize("error", [NoLeader("lost"), OutcomeUnknown("who knows"), Overtaken("late")])
@pytest.mark.parametrize("nested", [False, True])
def test_a_write_that_meets_the_loss_of_the_lead_is_no_failure(
    error: Exception, nested: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def tale() -> None:
        scene, story, failures = Scene(members=3), list[str](), [error]

        async def once() -> None:
            if failures:
                found = failures.pop()
                raise ExceptionGroup("a loop's own tasks", [found]) if nested else found

        async with scene.managing(lambda: Probe(story, once)):
            await asyncio.sleep(30)
            assert scene.raft.is_leader
            assert story == ["runs", "ended", "runs"]

    run_virtual(tale())
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_failure_beside_a_lost_lead_is_still_told(caplog: pytest.LogCaptureFixture) -> None:
    async def tale() -> None:
        scene = Scene(members=3)

        async def both() -> None:
            raise ExceptionGroup("a loop's own tasks", [NoLeader("lost"), KeyError("bug")])

        async with scene.managing(lambda: Probe([], both)):
            await asyncio.sleep(30)
            assert not scene.raft.is_leader

    run_virtual(tale())
    assert any(r.levelno >= logging.ERROR for r in caplog.records)


def test_a_loop_that_fails_while_it_is_ended_does_not_keep_the_manager() -> None:
    class Stubborn:
        async def run(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ValueError("cannot clean up")

    async def tale() -> None:
        scene = Scene()
        async with asyncio.timeout(60):
            async with scene.managing(Stubborn):
                await asyncio.sleep(1)

    run_virtual(tale())


def test_a_manager_of_its_own_places_the_tasks_of_a_service() -> None:
    async def tale() -> None:
        scene = Scene(leading=False)
        scene.raft.lead(True)
        spec = ServiceSpec(name="web", mode=ServiceMode(replicated=ReplicatedService(replicas=6)))
        async with scene.managing():
            async with scene.store.update() as tx:
                for i in range(3):
                    tx.put(Node(id=f"n{i}", status=NodeStatus(state=NodeState.READY)))
                tx.put(Service(id="s1", spec=spec))
            async with asyncio.timeout(60):
                with scene.store.watch() as feed:
                    while len(tasks := scene.store.view().tasks) < 6 or any(
                        t.status.state is not TaskState.ASSIGNED for t in tasks
                    ):
                        await feed.get()
            assert sorted(t.node_id for t in tasks) == ["n0", "n0", "n1", "n1", "n2", "n2"]

    run_virtual(tale())
