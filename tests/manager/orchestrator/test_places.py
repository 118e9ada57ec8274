"""Which slots count as filled, which numbers are free, and which slots go first."""

from __future__ import annotations

from itertools import islice

import pytest

from manager.orchestrator.places import by_slot, free_numbers, is_filled, live, surplus
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.task import Task
from tests.manager.orchestrator.objects import S, task, template

NEVER = template(policy=RestartPolicy(condition=RestartCondition.NONE))


def test_tasks_of_a_slot_come_oldest_first_and_those_to_be_removed_do_not_count() -> None:
    tasks = [
        task("c", created=3),
        task("a", created=1, desired=S.SHUTDOWN),
        task("b", created=2, desired=S.SHUTDOWN),
        task("x", created=0, desired=S.REMOVE),
    ]
    assert [t.id for t in by_slot(tasks)[1]] == ["a", "b", "c"]


def test_a_task_that_shall_run_is_the_newest_though_its_leaders_clock_was_behind() -> None:
    slot = by_slot([task("new", created=5), task("old", created=9, desired=S.SHUTDOWN)])[1]
    assert [t.id for t in slot] == ["old", "new"]


@pytest.mark.parametrize(
    ("last", "filled"),
    [
        (task(), True),
        (task(state=S.FAILED), True),
        (task(state=S.READY, desired=S.READY), True),
        (task(state=S.FAILED, desired=S.SHUTDOWN), False),
        (task(state=S.FAILED, desired=S.SHUTDOWN, spec=NEVER), True),
    ],
    ids=["runs", "to be replaced", "starts soon", "was to be replaced", "has ended for good"],
)
def test_a_slot_is_filled_by_a_live_task_or_by_one_that_has_ended_for_good(last: Task, filled: bool) -> None:
    assert is_filled([last]) is filled


def test_free_numbers_are_the_lowest_from_one_on() -> None:
    assert list(islice(free_numbers([1, 3, 4]), 3)) == [2, 5, 6]


def test_live_tasks_are_those_that_shall_run_now_or_later() -> None:
    tasks = [
        task("a", desired=S.SHUTDOWN),
        task("b", desired=S.READY),
        task("c"),
        task("d", desired=S.REMOVE),
    ]
    assert [t.id for t in live(tasks)] == ["b", "c"]


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
    assert set(surplus(by_slot(tasks), wanted)) == gone


def test_a_slot_that_is_being_replaced_goes_before_others() -> None:
    tasks = [
        task("a", 1),
        task("b", 1, S.STARTING, created=1),
        task("c", 2, node_id="n2"),
        task("d", 3, node_id="n3"),
    ]
    assert surplus(by_slot(tasks), 2) == [1]
