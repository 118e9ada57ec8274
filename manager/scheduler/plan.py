"""What becomes of the tasks that wait: a node for each, or the reason why there is none, and how that is written.

`plan` books what it decides in the node set, so that the next task sees it. `write` decides again on what may have
changed since: a decision that does not hold any more is left out, and its booking is the caller's to take back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from manager.scheduler.filters import NO_NODE, checks_for, explain, fits
from manager.scheduler.nodeset import NodeInfo, NodeSet, service_version, takes_tasks, waits_for_node
from manager.scheduler.resources import reserved
from manager.scheduler.spread import Order, branch, spread_over
from manager.store.tx import Tx
from swarmcore.model.task import Task, TaskState, TaskStatus

ASSIGNED = "scheduler assigned task to node"
CONFIRMED = "scheduler confirmed task can run on preassigned node"


class Decision(Struct, frozen=True, kw_only=True):
    """`placed` is the task as it shall be on its node; None: it waits on, and `reason` says why."""

    task: Task
    placed: Task | None = None
    reason: str = ""

    @property
    def is_news(self) -> bool:
        return self.placed is not None or self.reason != self.task.status.err


def plan(nodes: NodeSet, tasks: Iterable[Task], now: datetime) -> list[Decision]:
    decisions: list[Decision] = []
    for alike in _groups(tasks):
        decisions += _choose_nodes(nodes, alike, now)
    return decisions


def _groups(tasks: Iterable[Task]) -> Iterable[Sequence[Task]]:
    """Tasks that no filter and no ranking can tell apart; each of the others is alone."""
    groups: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        alone = task.id if task.spec_version is None or task.node_id else ""
        groups.setdefault((service_version(task), alone), []).append(task)
    return groups.values()


def _choose_nodes(nodes: NodeSet, tasks: Sequence[Task], now: datetime) -> Iterator[Decision]:
    sample = tasks[0]
    checks = checks_for(sample)
    if sample.node_id:
        yield _confirm(nodes, sample, now)
        return
    tree = branch(nodes, spread_over(sample.spec), Order(service_version(sample), checks, now))
    reason = ""
    for task in tasks:
        if tree.best() is not None:
            booking = _Booking(nodes, task, ASSIGNED, now)
            tree.book_best(booking)
            yield Decision(task=task, placed=booking.placed)
            continue
        reason = reason or _no_node(explain(checks, nodes))
        yield Decision(task=task, reason=reason)


def _no_node(explanation: str) -> str:
    return f"{NO_NODE} ({explanation})" if explanation else NO_NODE


def _confirm(nodes: NodeSet, task: Task, now: datetime) -> Decision:
    node = nodes.get(task.node_id)
    checks = checks_for(task)
    if node is None:
        return Decision(task=task, reason=NO_NODE)
    if not fits(checks, node):
        return Decision(task=task, reason=explain(checks, [node]))
    booking = _Booking(nodes, task, CONFIRMED, now)
    booking(node)
    return Decision(task=task, placed=booking.placed)


class _Booking:
    """Puts one task on the node that it is called with."""

    def __init__(self, nodes: NodeSet, task: Task, message: str, now: datetime) -> None:
        self._nodes, self._task, self._message, self._now = nodes, task, message, now
        self.placed = task

    def __call__(self, node: NodeInfo) -> None:
        self.placed = replace(
            self._task,
            node_id=node.node.id,
            status=TaskStatus(timestamp=self._now, state=TaskState.ASSIGNED, message=self._message),
            generic_resources=node.free.claim(reserved(self._task.spec)) or (),
        )
        self._nodes.put_task(self.placed, self._now)


def write(tx: Tx, decision: Decision) -> bool:
    """Write a decision that is news; False if it does not hold any more."""
    task = tx.tasks.get(decision.task.id)
    if task is None or not waits_for_node(task) or task.node_id != decision.task.node_id:
        return False
    if (placed := decision.placed) is None:
        status = replace(task.status, timestamp=tx.now(), err=decision.reason)
        tx.tasks.put(replace(task, status=status))
        return True
    node = tx.nodes.get(placed.node_id)
    if node is None or not takes_tasks(node):
        return False
    tx.tasks.put(
        replace(
            task,
            node_id=placed.node_id,
            status=replace(placed.status, timestamp=tx.now()),
            generic_resources=placed.generic_resources,
        )
    )
    return True
