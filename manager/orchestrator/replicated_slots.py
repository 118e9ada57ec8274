"""The places of a replicated service: slots 1 to N. Which numbers are free, and which go when there are too many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from manager.orchestrator.places import Choice, Places, live
from manager.orchestrator.steps import Around
from swarmcore.aio import Turns, stretches
from swarmcore.model.place import Place, in_order
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState


def choose_slots(service: Service, slots: Places, around: Around) -> Turns[Choice]:
    # The limit keeps new slots from being made; what was there before it stays.
    wanted = min(service.spec.replicas, max(around.max_replicas, len(slots)))
    if len(slots) > wanted:
        return Choice(to_give_up=(yield from surplus_in_turns(slots, wanted)))
    return Choice(to_fill=islice(free_numbers(slots), wanted - len(slots)))


def free_numbers(taken: Iterable[Place]) -> Iterator[int]:
    """Slot numbers from 1 that are not taken, the lowest first."""
    used, number = set(taken), 0
    while True:
        number += 1
        if number not in used:
            yield number


def surplus_in_turns(slots: Mapping[Place, Sequence[Task]], wanted: int) -> Turns[list[Place]]:
    """Which slots to give up, so that `wanted` stay.

    As in swarmkit: first those without a node and those being replaced, then from nodes with the most copies, of
    these those that do not run, then the highest number.
    """
    running: list[Place] = []
    others: list[Place] = []
    for slot_numbers in stretches(in_order(slots)):
        for number in slot_numbers:
            (running if _runs(slots[number]) else others).append(number)
        yield
    copies: Counter[str] = Counter()
    ranks: dict[int, list[Place]] = {}  # by how many copies its node has, itself counted
    nowhere: list[Place] = []
    for slot_numbers in stretches([*running, *others]):
        for number in slot_numbers:
            if node := _only_node(slots[number]):
                copies[node] += 1
                ranks.setdefault(copies[node], []).append(number)
            else:
                nowhere.append(number)
        yield
    return [number for rank in (*(ranks[key] for key in sorted(ranks)), nowhere) for number in rank][wanted:]


def _runs(of_slot: Sequence[Task]) -> bool:
    return any(task.status.state is TaskState.RUNNING for task in live(of_slot))


def _only_node(of_slot: Sequence[Task]) -> str:
    tasks = live(of_slot) or of_slot[-1:]
    return tasks[0].node_id if len(tasks) == 1 else ""
