"""The scheduler's loop: gives every task that waits a node, or says why none will do."""

from __future__ import annotations

import logging

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from manager.scheduler.filters import Filters
from manager.scheduler.nodeset import NodeSet
from manager.scheduler.spread import Spread
from manager.store.follow import follow
from manager.store.store import Store
from manager.store.tables import View
from manager.store.tx import Tx
from manager.store.watch import Change, Commit
from swarmcore.clock import Clock
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.task import Task, TaskState, TaskStatus

log = logging.getLogger(__name__)
ASSIGNED = "scheduler assigned task to node"


class Decision(Struct, frozen=True):
    """Where a task goes, or why nowhere."""

    task: Task
    node_id: str
    refusal: str = ""


class Scheduler:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._nodes = NodeSet()
        self._waiting: dict[str, Task] = {}  # PENDING without a node
        self._stale = False  # something changed that may let a waiting task be placed

    async def run(self) -> None:
        await follow(self._store, self._clock, self)

    # -- Follower ----------------------------------------------------------------------------------
    def restart(self, view: View) -> None:
        self._nodes = NodeSet()
        for node in view.nodes:
            self._nodes.put_node(node)
        self._waiting = {}
        for task in view.tasks:
            self._nodes.put_task(task)
            if _waits(task):
                self._waiting[task.id] = task
        self._stale = True

    def take(self, commit: Commit) -> None:
        for change in commit.changes:
            match change.object:
                case Node() as node:
                    self._take_node(change, node)
                case Task() as task:
                    self._take_task(change, task)

    def _take_node(self, change: Change, node: Node) -> None:
        if change.new is None:
            self._nodes.drop_node(node.id)
            return
        known = self._nodes.get(node.id)
        self._nodes.put_node(node)
        if known is None:  # its tasks, if it was away
            for task in self._store.view().tasks.find("node_id", node.id):
                self._nodes.put_task(task)
        self._stale = True

    def _take_task(self, change: Change, task: Task) -> None:
        old = change.old
        if isinstance(old, Task) and old.node_id != task.node_id:
            self._nodes.drop_task(old)
        if change.new is None:
            self._nodes.drop_task(task)
        else:
            self._nodes.put_task(task)
            if isinstance(old, Task) and not old.status.state.is_final:
                self._nodes.note_failure(task, self._clock.monotonic())
        if change.new is not None and _waits(task):
            known = self._waiting.get(task.id)
            self._waiting[task.id] = task
            self._stale |= known is None or known.spec != task.spec
        else:
            self._waiting.pop(task.id, None)
            # It gave something back: room for one that waits.
            self._stale |= (
                change.new is None or task.status.state.is_final or task.desired_state > TaskState.RUNNING
            )

    async def act(self) -> float | None:
        if self._stale and self._waiting:
            decisions = self._decide()
            refused = [each for each in decisions if not each.node_id]
            changed = [each for each in refused if each.task.status.err != each.refusal]
            placed = [each for each in decisions if each.node_id]
            try:
                await self._store.batch([*placed, *changed], self._carry_out)
            finally:
                # What was only meant counts no more; the commits say what came of it.
                for each in placed:
                    self._nodes.drop_task(replace(each.task, node_id=each.node_id))
            view = self._store.view()
            for each in placed:
                if (task := view.tasks.get(each.task.id)) is not None and task.node_id:
                    self._nodes.put_task(task)
        self._stale = False
        return None

    # -- deciding ----------------------------------------------------------------------------------
    def _decide(self) -> list[Decision]:
        """Every waiting task, in the order of their creation; those of one spec share all the questions."""
        groups: dict[bytes, list[Task]] = {}
        for task in self._waiting.values():
            groups.setdefault(_likeness(task), []).append(task)
        return [decision for tasks in groups.values() for decision in self._decide_alike(tasks)]

    def _decide_alike(self, tasks: list[Task]) -> list[Decision]:
        filters = Filters(tasks[0])
        fitting = [info for info in self._nodes if filters.accept(info)]
        spread = Spread(tasks[0], fitting, self._clock.monotonic())
        decisions: list[Decision] = []
        refusal = ""
        for task in tasks:
            info = None if refusal else spread.choose(filters.accept)
            if info is None:
                refusal = refusal or filters.refusal(self._nodes)
                decisions.append(Decision(task, "", refusal))
                continue
            info.put(replace(task, node_id=info.node.id))
            decisions.append(Decision(task, info.node.id))
        return decisions

    def _carry_out(self, tx: Tx, decision: Decision) -> None:
        """The task and the node may have changed since: then the commit that did it wakes this loop again."""
        task = tx.tasks.get(decision.task.id)
        if task is None or not _waits(task):
            return
        if not decision.node_id:
            status = replace(task.status, timestamp=tx.now(), err=decision.refusal)
            tx.tasks.put(replace(task, status=status))
            return
        node = tx.nodes.get(decision.node_id)
        if node is None or node.status.state is not NodeState.READY:
            return
        if node.spec.availability is not Availability.ACTIVE:
            return
        status = TaskStatus(timestamp=tx.now(), state=TaskState.ASSIGNED, message=ASSIGNED)
        tx.tasks.put(replace(task, node_id=node.id, status=status))


def _waits(task: Task) -> bool:
    """Tasks that name their node already (global services) are not chosen for here."""
    return (
        task.status.state is TaskState.PENDING
        and not task.node_id
        and task.desired_state <= TaskState.RUNNING
    )


def _likeness(task: Task) -> bytes:
    version = task.spec_version.index if task.spec_version is not None else 0
    if version:
        return f"{task.service_id}@{version}".encode()
    return task.service_id.encode() + msgspec.msgpack.encode(task.spec)
