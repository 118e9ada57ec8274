"""Which tasks are in a place, and which places count as filled."""

from __future__ import annotations

import pytest

from manager.orchestrator.places import is_filled, live
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.task import Task
from tests.manager.orchestrator.objects import S, by_place, task, template

NEVER = template(policy=RestartPolicy(condition=RestartCondition.NONE))


def test_tasks_of_a_slot_come_oldest_first_and_those_to_be_removed_do_not_count() -> None:
    tasks = [
        task("c", created=3),
        task("a", created=1, desired=S.SHUTDOWN),
        task("b", created=2, desired=S.SHUTDOWN),
        task("x", created=0, desired=S.REMOVE),
    ]
    assert [t.id for t in by_place(tasks)[1]] == ["a", "b", "c"]


def test_a_task_that_shall_run_is_the_newest_though_its_leaders_clock_was_behind() -> None:
    slot = by_place([task("new", created=5), task("old", created=9, desired=S.SHUTDOWN)])[1]
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


def test_live_tasks_are_those_that_shall_run_now_or_later() -> None:
    tasks = [
        task("a", desired=S.SHUTDOWN),
        task("b", desired=S.READY),
        task("c"),
        task("d", desired=S.REMOVE),
    ]
    assert [t.id for t in live(tasks)] == ["b", "c"]
