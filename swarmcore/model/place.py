"""A task's place in its service: the tasks that succeed each other share one, and each place has one that shall run.

How many places there are, and which, is the service's mode: numbers from 1 where it has replicas, ids of nodes where
it has one task a node. Nothing else looks at which of both a place is.
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmcore.model.task import Task

#: A slot's number, never 0, or the id of a node. A bare value: there is one for each task of every plan.
Place = int | str


def place_of(task: Task) -> Place:
    """It stays the same from the task's beginning: one without a number is made for its node."""
    return task.slot or task.node_id


def in_order(places: Iterable[Place]) -> list[Place]:
    """Slots by their numbers, then nodes by their ids."""
    found = list(places)
    numbers = [place for place in found if isinstance(place, int)]
    nodes = [place for place in found if isinstance(place, str)]
    return [*sorted(numbers), *sorted(nodes)]
