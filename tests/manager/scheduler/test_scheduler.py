from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from manager.scheduler.plan import ASSIGNED
from manager.scheduler.scheduler import Scheduler
from manager.store.store import Store
from manager.store.tables import View
from manager.store.tx import MAX_BYTES
from swarmcore.aio import owned
from swarmcore.model.base import Object
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.scheduler.objects import node, running, task

NOT_READY = "no suitable node (1 node not available for new tasks)"


class Scene:
    """A store on a raft of one."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)

    async def put(self, *objects: Object) -> None:
        """Create or replace in one commit, whatever the version."""
        async with self.store.update() as tx:
            for each in objects:
                known = tx.table("tasks" if isinstance(each, Task) else "nodes").get(each.id)
                tx.put(each if known is None else replace(each, version=known.version))

    async def remove(self, *ids: str) -> None:
        async with self.store.update() as tx:
            for each in ids:
                tx.delete(each)

    def task(self, task_id: str = "t1") -> Task:
        found = self.store.view().tasks.get(task_id)
        assert found is not None
        return found

    def node(self, node_id: str) -> Node:
        found = self.store.view().nodes.get(node_id)
        assert found is not None
        return found

    async def until(self, condition: Callable[[View], bool]) -> None:
        async with asyncio.timeout(60):
            with self.store.watch() as feed:
                while not condition(self.store.view()):
                    await feed.get()

    async def until_on(self, node_id: str, task_id: str = "t1") -> None:
        await self.until(lambda _: self.task(task_id).node_id == node_id)

    async def until_told(self, err: str, task_id: str = "t1") -> None:
        await self.until(lambda _: self.task(task_id).status.err == err)


@asynccontextmanager
async def scheduling(scene: Scene) -> AsyncIterator[None]:
    async with owned(Scheduler(scene.store, scene.clock).run(), "scheduler") as loop:
        await asyncio.sleep(0)
        yield
        await asyncio.sleep(1)
        assert not loop.done()


def test_large_tasks_are_assigned_in_as_many_entries_as_they_take() -> None:
    async def story() -> None:
        scene = Scene()
        large = {"large": "x" * (MAX_BYTES // 2 - 1000)}
        for i in range(5):
            await scene.put(replace(task(f"t{i}"), labels=large))
        await scene.put(node("n1"))
        async with scheduling(scene):
            await scene.until(lambda view: all(t.node_id for t in view.tasks))
        assert len(scene.raft.log) == 6 + 3
        assert max(map(len, scene.raft.log)) <= MAX_BYTES

    run_virtual(story())


def test_fifty_tasks_share_one_entry_and_five_nodes() -> None:
    async def story() -> None:
        scene = Scene()
        async with scheduling(scene):
            await scene.put(*(node(f"n{i}") for i in range(5)))
            await scene.put(*(task(f"t{i}") for i in range(50)))
            await scene.until(lambda view: all(t.node_id for t in view.tasks))
        assert len(scene.raft.log) == 3
        tasks = list(scene.store.view().tasks)
        assert set(Counter(t.node_id for t in tasks).values()) == {10}
        assert {(t.status.state, t.status.message, t.status.err) for t in tasks} == {
            (TaskState.ASSIGNED, ASSIGNED, "")
        }

    run_virtual(story())


def test_a_new_leader_takes_up_what_it_finds_in_bounded_entries() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1"), node("n2"), running("r1", "n1"), running("r2", "n1"))
        waiting = [task(f"t{i:03}") for i in range(450)]
        for start in range(0, 450, 150):
            await scene.put(*waiting[start : start + 150])
        entries = len(scene.raft.log)
        async with scheduling(scene):
            await scene.until(lambda view: all(t.node_id for t in view.tasks))
        assert len(scene.raft.log) - entries == 3
        assert Counter(t.node_id for t in scene.store.view().tasks) == {"n1": 226, "n2": 226}

    run_virtual(story())


@pytest.mark.parametrize("desired", [TaskState.SHUTDOWN, TaskState.REMOVE])
@pytest.mark.parametrize("before", [True, False], ids=["found", "told"])
def test_a_task_that_shall_not_run_gets_no_node(desired: TaskState, before: bool) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1"))
        if before:
            await scene.put(task("t1", desired=desired))
        async with scheduling(scene):
            if not before:
                await scene.put(task("t1", desired=desired))
            await scene.put(task("t2"))
            await scene.until_on("n1", "t2")
        assert scene.task().node_id == ""

    run_virtual(story())


def test_a_delayed_task_and_a_job_are_given_nodes() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1"))
        async with scheduling(scene):
            await scene.put(task("t1", desired=TaskState.READY), task("t2", desired=TaskState.COMPLETE))
            await scene.until_on("n1", "t1")
            await scene.until_on("n1", "t2")

    run_virtual(story())


def test_the_reason_is_written_once_and_gone_with_the_assignment() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1", state=NodeState.DOWN))
        async with scheduling(scene):
            await scene.put(task("t1"))
            await scene.until_told(NOT_READY)
            written = len(scene.raft.log)
            await asyncio.sleep(60)
            # Looks at it again, with the same result.
            await scene.put(node("n1", state=NodeState.DOWN, labels={"a": "b"}))
            await asyncio.sleep(60)
            assert len(scene.raft.log) == written + 1
            await scene.put(node("n1"))
            await scene.until_on("n1")
        assert scene.task().status.err == ""

    run_virtual(story())


def test_the_reason_follows_the_nodes() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1", state=NodeState.DOWN), task("t1"))
        async with scheduling(scene):
            await scene.until_told(NOT_READY)
            await scene.put(node("n2", availability=Availability.DRAIN))
            await scene.until_told("no suitable node (2 nodes not available for new tasks)")
            await scene.remove("n1")
            await scene.until_told(NOT_READY)
            await scene.remove("n2")
            await scene.until_told("no suitable node")
            await scene.put(node("n3"))
            await scene.until_on("n3")

    run_virtual(story())


@pytest.mark.parametrize("how", ["ended", "removed"])
def test_the_end_of_a_task_makes_room_for_one_that_waits(how: str) -> None:
    async def story() -> None:
        scene = Scene()
        wanted = Resources(memory_bytes=600)
        holder = task("t0", node_id="n1", state=TaskState.RUNNING, reserve=wanted)
        await scene.put(node("n1"), holder, task("t1", reserve=wanted))
        async with scheduling(scene):
            await scene.until_told("no suitable node (insufficient resources on 1 node)")
            await scene.put(replace(holder, desired_state=TaskState.SHUTDOWN))
            await asyncio.sleep(1)
            assert scene.task().node_id == ""  # it is still there
            if how == "removed":
                await scene.remove("t0")
            else:
                await scene.put(replace(holder, status=TaskStatus(state=TaskState.SHUTDOWN)))
            await scene.until_on("n1")

    run_virtual(story())


def test_a_given_node_is_confirmed_once_it_fits() -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1"), node("n2", availability=Availability.PAUSE))
        async with scheduling(scene):
            await scene.put(task("t1", node_id="n2"))
            await scene.until_told("1 node not available for new tasks")
            await scene.put(node("n2"))
            await scene.until(lambda _: scene.task().status.state is TaskState.ASSIGNED)
        assert scene.task().node_id == "n2"

    run_virtual(story())


@pytest.mark.parametrize("what", ["task removed", "task given up", "node drained", "node removed"])
def test_what_changed_since_the_choice_is_seen_in_the_transaction(what: str) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1"), node("n2"), running("r1", "n2", service="other"))
        async with scheduling(scene):
            # The writer is taken: the scheduler chooses n1 and then has to wait for what happens here.
            async with scene.store.update() as tx:
                tx.put(task("t1"))
                tx.put(task("t2", service="api"))
            async with scene.store.update() as tx:
                await asyncio.sleep(1)
                match what:
                    case "task removed":
                        tx.delete("t1")
                    case "task given up":
                        tx.put(replace(scene.task("t1"), desired_state=TaskState.REMOVE))
                    case "node drained":
                        drained = node("n1", availability=Availability.DRAIN)
                        tx.put(replace(drained, version=scene.node("n1").version))
                    case "node removed":
                        tx.delete("n1")
            await scene.until(lambda _: scene.task("t2").node_id != "")
            if what.startswith("node"):
                await scene.until_on("n2", "t1")
                await scene.until_on("n2", "t2")
        if what == "task given up":
            assert scene.task().node_id == ""

    run_virtual(story())


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_is_planned_again_from_the_state(committed: bool) -> None:
    async def story() -> None:
        scene = Scene()
        await scene.put(node("n1"), node("n2"), task("t1"), task("t2"))
        scene.raft.lose_next_answer(committed=committed)
        async with scheduling(scene):
            await scene.until(lambda view: all(t.node_id for t in view.tasks))
            await scene.put(task("t3"), task("t4"))
            await scene.until(lambda view: all(t.node_id for t in view.tasks))
        assert Counter(t.node_id for t in scene.store.view().tasks) == {"n1": 2, "n2": 2}

    run_virtual(story())


def test_a_snapshot_from_another_leader_is_taken_up() -> None:
    async def story() -> None:
        scene, other = Scene(), Scene()
        await other.put(node("n1"), task("t1"))
        dump = other.store.snapshot()()
        async with scheduling(scene):
            await asyncio.sleep(1)
            scene.store.restore(dump, 1)
            await scene.until_on("n1")

    run_virtual(story())


def test_many_tasks_without_a_node_leave_the_others_their_turns() -> None:
    async def story() -> None:
        scene = Scene()
        stuck = Resources(memory_bytes=10_000)
        await scene.put(node("n1"))
        for start in range(0, 600, 150):
            await scene.put(*(task(f"s{i}", service="big", reserve=stuck) for i in range(start, start + 150)))
        async with scheduling(scene):
            await scene.until_told("no suitable node (insufficient resources on 1 node)", "s599")
            await scene.put(node("n2"), task("t1"))
            await scene.until(lambda _: scene.task("t1").node_id != "")
            await scene.until_told("no suitable node (insufficient resources on 2 nodes)", "s599")

    run_virtual(story())


def test_a_choice_that_was_overtaken_holds_no_resources() -> None:
    async def story() -> None:
        scene = Scene()
        down = node("n1", state=NodeState.DOWN)
        await scene.put(down)
        async with scheduling(scene):
            await scene.put(task("t1", reserve=Resources(memory_bytes=600)))
            await scene.until_told(NOT_READY)
            await scene.put(node("n1"))
            async with scene.store.update() as tx:
                await asyncio.sleep(1)  # the scheduler has chosen n1 and waits for its turn to write
                tx.put(replace(down, version=scene.node("n1").version))
            await asyncio.sleep(
                1
            )  # the reason is the same as before: no commit tells the scheduler of its task
            assert scene.task().status.err == NOT_READY
            written = len(scene.raft.log)
            await scene.put(node("n1"))
            await scene.until_on("n1")
        assert len(scene.raft.log) == written + 2  # the node and the assignment, no refusal in between

    run_virtual(story())
