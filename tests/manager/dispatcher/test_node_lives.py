"""Leases of nodes: who is expected, who is down, whose tasks are given up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from manager.dispatcher.node_lives import GRACE, NEW_LEADER_GRACE, RECONNECT_GRACE, NodeLives
from manager.dispatcher.statuses import Writer
from manager.store.store import Store
from swarmcore.aio import TaskGroup
from swarmcore.model.node import Node, NodeState, NodeStatus
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual

ORPHAN_AFTER = 20.0


class Scene:
    """n1 was ready when this manager began to lead, n2 was down; each has a task."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.connected: set[str] = set()
        self.silenced: list[str] = []
        self.writer = Writer(self.store, self.clock)
        self.lives = NodeLives(
            self.store,
            self.clock,
            self.writer,
            connected=lambda node_id: node_id in self.connected,
            silent=self.silenced.append,
            orphan_after=ORPHAN_AFTER,
        )

    async def begin(self) -> None:
        running = TaskStatus(state=TaskState.RUNNING)
        async with self.store.update() as tx:
            tx.put(Node(id="n1", status=NodeStatus(state=NodeState.READY)))
            tx.put(Node(id="n2", status=NodeStatus(state=NodeState.DOWN)))
            tx.put(Task(id="t1", node_id="n1", status=running))
            tx.put(Task(id="t2", node_id="n2", status=running))
        self.lives.expect_all(self.store.view())

    def state(self, node_id: str) -> NodeState:
        node = self.store.view().nodes.get(node_id)
        assert node is not None
        return node.status.state

    def task_state(self, task_id: str) -> TaskState:
        task = self.store.view().tasks.get(task_id)
        assert task is not None
        return task.status.state


def in_scene(story: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene()
        await scene.begin()
        async with TaskGroup() as group:
            loops = (scene.writer.run(), scene.lives.watch(), scene.lives.watch_the_dead())
            tasks = [group.create_task(loop) for loop in loops]
            await story(scene)
            for task in tasks:
                task.cancel()

    run_virtual(whole())


def test_who_does_not_come_to_a_new_leader_is_down_and_given_up_later() -> None:
    async def story(scene: Scene) -> None:
        await scene.clock.sleep(1)
        assert (scene.state("n1"), scene.silenced) == (NodeState.UNKNOWN, [])
        await scene.clock.sleep(NEW_LEADER_GRACE)
        assert (scene.state("n1"), scene.silenced) == (NodeState.DOWN, ["n1"])
        await scene.clock.sleep(ORPHAN_AFTER - 3)
        assert (scene.task_state("t1"), scene.task_state("t2")) == (TaskState.RUNNING, TaskState.ORPHANED)
        await scene.clock.sleep(5)
        assert scene.task_state("t1") is TaskState.ORPHANED

    in_scene(story)


def test_a_node_that_is_heard_of_lives_and_one_that_came_back_is_not_given_up() -> None:
    async def story(scene: Scene) -> None:
        scene.lives.came("n2")
        for _ in range(int(ORPHAN_AFTER)):
            scene.lives.heard("n1")
            scene.lives.heard("n2")
            await scene.clock.sleep(GRACE / 2)
        assert scene.silenced == []
        assert scene.task_state("t2") is TaskState.RUNNING

    in_scene(story)


def test_a_broken_connection_has_its_own_grace() -> None:
    async def story(scene: Scene) -> None:
        scene.lives.disconnected("n1")
        await scene.clock.sleep(RECONNECT_GRACE - 0.5)
        assert scene.state("n1") is NodeState.DISCONNECTED
        await scene.clock.sleep(1)
        assert scene.state("n1") is NodeState.DOWN

    in_scene(story)
