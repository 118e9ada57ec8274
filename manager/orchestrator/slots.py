"""A replicated service's tasks by slot: which slots count, which are free, which go first when there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from manager.orchestrator.restart_policy import age, should_restart
from swarmcore.model.task import Task, TaskState

#: All stored tasks of each slot, oldest first.
Slots = dict[int, list[Task]]


def by_slot(tasks: Iterable[Task]) -> Slots:
    """Without those to be removed: a slot given up and taken up again begins anew."""
    slots: Slots = {}
    for task in sorted((t for t in tasks if t.desired_state < TaskState.REMOVE), key=age):
        slots.setdefault(task.slot, []).append(task)
    return slots


def live(slot: Sequence[Task]) -> list[Task]:
    """The tasks that shall run, or shall once they may start."""
    return [task for task in slot if task.desired_state <= TaskState.RUNNING]


def is_filled(slot: Sequence[Task]) -> bool:
    """It has a live task, or its last one has ended for good: that is what the restart policy asked for."""
    last = slot[-1]
    finished = last.desired_state == TaskState.SHUTDOWN and not should_restart(last, slot)
    return finished or bool(live(slot))


def free_numbers(taken: Iterable[int]) -> Iterator[int]:
    """Slot numbers from 1 that are not taken, the lowest first."""
    used, number = set(taken), 0
    while True:
        number += 1
        if number not in used:
            yield number


def surplus(slots: Mapping[int, Sequence[Task]], wanted: int) -> list[int]:
    """Which slots to give up, so that `wanted` stay.

    As in swarmkit: first those without a node and those being replaced, then from nodes with the most copies, of
    these those that do not run, then the highest number.
    """
    order = sorted(slots, key=lambda number: (not _runs(slots[number]), number))
    copies: Counter[str] = Counter()
    rank: dict[int, tuple[float, int]] = {}
    for place, number in enumerate(order):
        node = _only_node(slots[number])
        copies[node] += 1
        rank[number] = (copies[node] if node else inf, place)
    return sorted(order, key=lambda number: rank[number])[wanted:]


def _runs(slot: Sequence[Task]) -> bool:
    return any(task.status.state is TaskState.RUNNING for task in live(slot))


def _only_node(slot: Sequence[Task]) -> str:
    tasks = live(slot) or slot[-1:]
    return tasks[0].node_id if len(tasks) == 1 else ""
