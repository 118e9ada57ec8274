"""A replicated service's tasks by slot: which slots count, which are free, which go first when there are too many.

A service may have a hundred thousand tasks: what looks at all of them is done in turns (`swarmcore.aio`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from manager.orchestrator.restart_policy import age, should_restart
from swarmcore.aio import Turns, at_once, stretches
from swarmcore.model.task import Task, TaskState

#: All stored tasks of each slot, oldest first.
Slots = dict[int, list[Task]]


def by_slot(tasks: Iterable[Task]) -> Slots:
    return at_once(by_slot_in_turns(tasks))


def by_slot_in_turns(tasks: Iterable[Task]) -> Turns[Slots]:
    """Without those to be removed: a slot given up and taken up again begins anew. The lowest number first."""
    found: Slots = {}
    for part in stretches(tasks):
        for task in part:
            if task.desired_state < TaskState.REMOVE:
                found.setdefault(task.slot, []).append(task)
        yield
    slots: Slots = {}
    for numbers in stretches(sorted(found)):
        slots |= {number: sorted(found[number], key=age) for number in numbers}
        yield
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
    return at_once(surplus_in_turns(slots, wanted))


def surplus_in_turns(slots: Mapping[int, Sequence[Task]], wanted: int) -> Turns[list[int]]:
    """Which slots to give up, so that `wanted` stay.

    As in swarmkit: first those without a node and those being replaced, then from nodes with the most copies, of
    these those that do not run, then the highest number.
    """
    running: list[int] = []
    others: list[int] = []
    for numbers in stretches(sorted(slots)):
        for number in numbers:
            (running if _runs(slots[number]) else others).append(number)
        yield
    copies: Counter[str] = Counter()
    ranks: dict[int, list[int]] = {}  # by how many copies its node has, itself counted
    nowhere: list[int] = []
    for numbers in stretches([*running, *others]):
        for number in numbers:
            if node := _only_node(slots[number]):
                copies[node] += 1
                ranks.setdefault(copies[node], []).append(number)
            else:
                nowhere.append(number)
        yield
    return [number for rank in (*(ranks[key] for key in sorted(ranks)), nowhere) for number in rank][wanted:]


def _runs(slot: Sequence[Task]) -> bool:
    return any(task.status.state is TaskState.RUNNING for task in live(slot))


def _only_node(slot: Sequence[Task]) -> str:
    tasks = live(slot) or slot[-1:]
    return tasks[0].node_id if len(tasks) == 1 else ""
