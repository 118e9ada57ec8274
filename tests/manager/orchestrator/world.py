"""The rest of a swarm for loop tests: allocator, scheduler and agents in one, which tests can make fail.

Virtual time: nothing here waits for real. Tasks go to the ready node with the fewest of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from msgspec.structs import replace

from manager.orchestrator.orchestrator import Orchestrator
from manager.orchestrator.reaper import TaskReaper
from manager.rules import constraints
from manager.store.store import Store
from manager.store.tables import Tables
from manager.store.tx import Tx
from swarmcore.aio import Tasks, owned
from swarmcore.model.base import Version
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, Cluster, Orchestration
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.policy import RestartPolicy
from swarmcore.model.service import Service, ServiceSpec, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.orchestrator.objects import node, service, template

S = TaskState


class LeadersClock(LoopClock):
    """The wall clocks of managers differ: `ahead` is how many seconds the present leader's is."""

    ahead = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead)


class World:
    def __init__(self) -> None:
        self.clock = LeadersClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.ids = (f"t{number:05}" for number in count(1))
        self.boot_time = 0.1  # from READY to RUNNING
        self.stop_time = 0.1
        self.fails: Callable[[Task], bool] = lambda task: False  # FAILED instead of RUNNING
        self.placing = True
        self._wake = asyncio.Event()
        self.failures: list[BaseException] = []

    # -- the swarm around the orchestrator -------------------------------------------------------
    async def play(self) -> None:
        with self.store.watch() as feed:
            steps = Tasks(on_failure=lambda _, error: self.failures.append(error))
            moving: set[str] = set()
            try:
                while True:
                    for task in list(self.store.view().tasks):
                        if task.id not in moving and self._next(self.store.view(), task):
                            moving.add(task.id)
                            steps.start(self._walk(task.id, moving), task.id)
                    async with (
                        owned(feed.get(), "commit") as commit,
                        owned(self._wake.wait(), "wake") as wake,
                    ):
                        await asyncio.wait({commit, wake}, return_when=asyncio.FIRST_COMPLETED)
                    self._wake.clear()
            finally:
                await steps.close()

    async def _walk(self, task_id: str, moving: set[str]) -> None:
        try:
            task = self.store.view().tasks.get(task_id)
            move = self._next(self.store.view(), task) if task else None
            if move is not None:
                await self.clock.sleep(move[1])
                async with self.store.update() as tx:
                    self._advance(tx, task_id)
        finally:
            moving.discard(task_id)
            self._wake.set()

    def _advance(self, tx: Tx, task_id: str) -> None:
        task = tx.tasks.get(task_id)
        move = self._next(tx, task) if task is not None else None
        if task is None or move is None:
            return
        status = TaskStatus(state=move[0], timestamp=tx.now())
        node_id = task.node_id
        if move[0] is S.ASSIGNED:
            load = {
                n.id: len([t for t in tx.tasks.find("node_id", n.id) if not _over(t)])
                for n in _open(tx, task)
            }
            node_id = min(load, key=lambda id: (load[id], id))
        tx.tasks.put(replace(task, status=status, node_id=node_id))

    def _next(self, tables: Tables, task: Task) -> tuple[TaskState, float] | None:
        """The task's next observed state and how long it takes to get there."""
        state, desired = task.status.state, task.desired_state
        if state.is_final:
            return None
        if not task.node_id:
            placeable = self.placing and desired <= S.RUNNING and _open(tables, task)
            return (S.ASSIGNED, 0.0) if placeable else None
        where = tables.nodes.get(task.node_id)
        if where is None or where.status.state is not NodeState.READY:
            return None
        if desired >= S.SHUTDOWN:
            return S.SHUTDOWN, self.stop_time
        if state < S.READY:
            return S.READY, 0.0
        if state is S.READY and desired >= S.RUNNING:
            return S.FAILED if self.fails(task) else S.RUNNING, self.boot_time
        return None

    # -- what happens to it ----------------------------------------------------------------------
    async def put(self, *objects: Node | Service | Task | Cluster) -> None:
        async with self.store.update() as tx:
            for obj in objects:
                known = tx.table(
                    {Node: "nodes", Service: "services", Task: "tasks", Cluster: "clusters"}[type(obj)]
                )
                old = known.get(obj.id)
                tx.put(replace(obj, version=old.version if old else Version()))

    async def nodes(self, *ids: str) -> None:
        await self.put(*(node(id) for id in ids))

    async def node_is(self, id: str, state: NodeState) -> None:
        old = self.store.view().nodes.get(id)
        assert old is not None
        await self.put(replace(old, status=replace(old.status, state=state)))

    async def availability(self, id: str, availability: Availability) -> None:
        old = self.store.view().nodes.get(id)
        assert old is not None
        await self.put(replace(old, spec=replace(old.spec, availability=availability)))

    async def history(self, limit: int) -> None:
        orchestration = Orchestration(task_history_retention_limit=limit)
        spec = replace(DEFAULT_SWARM_SPEC, orchestration=orchestration)
        await self.put(Cluster(id="cluster", spec=spec))

    async def ended(self, task: Task, state: TaskState = S.FAILED) -> None:
        """The task ends by itself."""
        async with self.store.update() as tx:
            now = tx.tasks.get(task.id)
            assert now is not None
            tx.tasks.put(replace(now, status=TaskStatus(state=state, timestamp=tx.now())))

    async def change(self, change: Callable[[ServiceSpec], ServiceSpec], *, rollback: bool = False) -> None:
        """As the control API writes an update."""
        async with self.store.update() as tx:
            old = tx.services.get("svc")
            assert old is not None
            spec = change(old.spec)
            if rollback:
                assert old.previous_spec is not None
                spec = old.previous_spec
            anew = spec.task_template != old.spec.task_template
            started = UpdateStatus(state=UpdateState.ROLLBACK_STARTED) if rollback else None
            tx.services.put(
                replace(
                    old,
                    spec=spec,
                    previous_spec=old.spec,
                    spec_version=Version(index=old.spec_version.index + anew),
                    update_status=started if anew else old.update_status,
                )
            )

    async def scale(self, replicas: int) -> None:
        mode = service(replicas).spec.mode
        await self.change(lambda spec: replace(spec, mode=mode))

    async def remove_service(self) -> None:
        async with self.store.update() as tx:
            tx.services.delete("svc")

    # -- what became of it -----------------------------------------------------------------------
    def tasks(self, slot: int | None = None) -> list[Task]:
        """Oldest first."""
        found = [task for task in self.store.view().tasks if slot in (None, task.slot)]
        return sorted(found, key=lambda task: task.id)

    def running(self, image: str | None = None) -> list[Task]:
        """That run and shall."""
        alive = [t for t in self.tasks() if t.status.state is S.RUNNING and t.desired_state is S.RUNNING]
        return [t for t in alive if image in (None, t.spec.container.image)]

    def the_task(self, slot: int) -> Task:
        (found,) = [task for task in self.running() if task.slot == slot]
        return found

    def update_status(self) -> UpdateStatus:
        found = self.store.view().services.get("svc")
        assert found is not None
        assert found.update_status is not None
        return found.update_status

    async def until(self, met: Callable[[], object], seconds: float = 600.0) -> float:
        """Wait for a condition; how long it took."""
        began = self.clock.monotonic()
        while not met():
            assert self.clock.monotonic() - began < seconds, "the condition is never met"
            await self.clock.sleep(0.01)
        return self.clock.monotonic() - began

    async def rest(self, seconds: float = 1.0) -> None:
        """Virtual time passes."""
        await self.clock.sleep(seconds)

    async def is_quiet(self, seconds: float = 30.0) -> bool:
        before = len(self.raft.log)
        await self.clock.sleep(seconds)
        return len(self.raft.log) == before

    @asynccontextmanager
    async def led(self) -> AsyncIterator[None]:
        """A leader's term: its loops run in the block."""
        orchestrator = Orchestrator(self.store, self.clock, lambda: next(self.ids))
        reaper = TaskReaper(self.store, self.clock)
        async with owned(orchestrator.run(), "orchestrator") as one, owned(reaper.run(), "reaper") as two:
            yield
            for loop in (one, two):
                if loop.done():
                    loop.result()


def _over(task: Task) -> bool:
    return task.status.state.is_final or task.desired_state > S.RUNNING


def _open(tables: Tables, task: Task) -> list[Node]:
    wanted = constraints.parse(task.spec.placement.constraints if task.spec.placement else ())
    return [
        n
        for n in tables.nodes
        if n.status.state is NodeState.READY
        and n.spec.availability is Availability.ACTIVE
        and constraints.match(wanted, n)
    ]


def in_world(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a story with the agents playing along; it starts leaders itself."""

    async def run() -> None:
        world = World()
        async with owned(world.play(), "agents") as agents:
            await story(world)
            assert not agents.done(), agents.exception()
            assert world.failures == []

    run_virtual(run())


async def started(world: World, replicas: int = 3, policy: RestartPolicy | None = None) -> None:
    await world.nodes("n1", "n2", "n3")
    await world.put(service(replicas, template(policy=policy)))


def off_n1(world: World) -> list[Task]:
    return [task for task in world.running() if task.node_id != "n1"]
