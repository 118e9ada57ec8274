"""Places: of tasks with a slot and of those made for a node, and their order."""

from __future__ import annotations

import pytest

from swarmcore.model.naming import task_name
from swarmcore.model.place import Place, in_order, place_of
from swarmcore.model.task import Task


@pytest.mark.parametrize(
    ("task", "place"),
    [
        (Task(id="t", slot=3), 3),
        (Task(id="t", slot=3, node_id="n1"), 3),
        (Task(id="t", node_id="n1"), "n1"),
    ],
    ids=["a replica", "a replica on a node", "one task a node"],
)
def test_a_place_is_the_slot_if_there_is_one_and_else_the_node(task: Task, place: Place) -> None:
    assert place_of(task) == place
    assert task_name(task).split(".")[1] == str(place)


def test_slots_come_by_number_and_before_nodes_by_id() -> None:
    assert in_order([10, "b", 9, "a"]) == [9, 10, "a", "b"]
