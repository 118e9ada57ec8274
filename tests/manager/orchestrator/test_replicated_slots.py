"""The slots of a replicated service: which numbers are free, and which slots go first."""

from __future__ import annotations

from itertools import islice

import pytest

from manager.orchestrator.places import Places
from manager.orchestrator.replicated_slots import free_numbers, surplus_in_turns
from swarmcore.aio import at_once
from swarmcore.model.place import Place
from swarmcore.model.task import Task
from tests.manager.orchestrator.objects import S, by_place, task


def surplus(slots: Places, wanted: int) -> list[Place]:
    return at_once(surplus_in_turns(slots, wanted))


def test_free_numbers_are_the_lowest_from_one_on() -> None:
    assert list(islice(free_numbers([1, 3, 4]), 3)) == [2, 5, 6]


@pytest.mark.parametrize(
    ("tasks", "wanted", "gone"),
    [
        ([task("a", 1), task("b", 2), task("c", 3)], 2, {3}),
        ([task("a", 1), task("b", 2, node_id="n2"), task("c", 3)], 2, {3}),
        ([task("a", 1), task("b", 2), task("c", 3, node_id="n2")], 2, {2}),
        ([task("a", 1, S.READY), task("b", 2), task("c", 3)], 2, {1}),
        ([task("a", 1, S.PENDING, node_id=""), task("b", 2), task("c", 3)], 2, {1}),
        ([task("a", 1, S.READY, node_id="n2"), task("b", 2), task("c", 3)], 2, {3}),
        ([task("a", 1), task("b", 2)], 0, {1, 2}),
    ],
    ids=[
        "the highest of one node",
        "from the fuller node",
        "from the fuller node, though the other is higher",
        "what does not run, on one node",
        "what has no node",
        "balance before running",
        "all",
    ],
)
def test_slots_to_give_up(tasks: list[Task], wanted: int, gone: set[int]) -> None:
    assert set(surplus(by_place(tasks), wanted)) == gone


def test_a_slot_that_is_being_replaced_goes_before_others() -> None:
    tasks = [
        task("a", 1),
        task("b", 1, S.STARTING, created=1),
        task("c", 2, node_id="n2"),
        task("d", 3, node_id="n3"),
    ]
    assert surplus(by_place(tasks), 2) == [1]
