"""Plans for slots with more than one live task, and for those that the restart policy gives up."""

from __future__ import annotations

import pytest

from manager.orchestrator.steps import Around, Step
from swarmcore.model.policy import FailureAction, RestartCondition, RestartPolicy, UpdateConfig, UpdateOrder
from swarmcore.model.service import UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState
from tests.manager.orchestrator.objects import SECOND, S, at, node, plan, service, task, template

NONE = RestartPolicy(condition=RestartCondition.NONE)
TWICE = RestartPolicy(max_attempts=1)
START_FIRST = UpdateConfig(
    parallelism=1, order=UpdateOrder.START_FIRST, failure_action=FailureAction.CONTINUE
)
UPDATING = UpdateStatus(state=UpdateState.UPDATING, started_at=at(10), message="update in progress")
AROUND = Around(now=at(20), nodes={"n1": node()})


def failed(id: str, created: float, policy: RestartPolicy, state: TaskState = S.FAILED) -> Task:
    """A task of the new version that has ended and was noticed."""
    return task(id, 1, state, S.SHUTDOWN, created=created, version=2, spec=template("bad", policy))


@pytest.mark.parametrize(
    "ended",
    [
        [failed("new", 11, NONE)],
        [failed("new", 11, RestartPolicy(condition=RestartCondition.ON_FAILURE), S.COMPLETE)],
        [failed("new", 11, TWICE), failed("again", 16, TWICE)],
    ],
    ids=["never again", "it is complete", "all attempts made"],
)
def test_a_start_first_slot_whose_new_task_is_given_up_keeps_the_old_one_and_is_not_tried_again(
    ended: list[Task],
) -> None:
    made = service(1, ended[0].spec, version=2, update=START_FIRST, status=UPDATING)
    old = task("old", 1, spec=template("web:1", ended[0].spec.restart_policy))
    assert plan(made, [old, *ended], AROUND).steps == ()


def test_a_newer_spec_is_tried_in_a_slot_that_was_given_up() -> None:
    made = service(1, template("good", NONE), version=3, update=START_FIRST)
    tasks = [task("old", 1, spec=template("web:1", NONE)), failed("new", 11, NONE)]
    assert plan(made, tasks, AROUND).steps == (Step(create_in=1),)


def test_a_task_that_was_stopped_is_not_given_up() -> None:
    made = service(1, template("bad", NONE), version=2, update=START_FIRST, status=UPDATING)
    tasks = [task("old", 1, spec=template("web:1", NONE)), failed("new", 11, NONE, S.SHUTDOWN)]
    assert plan(made, tasks, AROUND).steps == (Step(create_in=1),)


def test_a_new_task_that_fails_beside_the_old_one_has_its_delay_too() -> None:
    policy = RestartPolicy(delay=30 * SECOND)
    made = service(1, template("bad", policy), version=2, update=START_FIRST, status=UPDATING)
    again = task("again", 1, S.READY, S.READY, created=15, version=2, spec=template("bad", policy))
    made_plan = plan(made, [task("old", 1), failed("new", 11, policy), again], AROUND)
    assert made_plan.steps == ()
    assert made_plan.due == at(45)


def test_of_two_outdated_tasks_that_run_a_paused_update_leaves_the_newer() -> None:
    paused = UpdateStatus(state=UpdateState.PAUSED, started_at=at(10))
    made = service(1, template("web:3"), version=3, update=START_FIRST, status=paused)
    tasks = [task("first", 1), task("second", 1, created=5, version=2, spec=template("web:2"))]
    assert plan(made, tasks, AROUND).steps == (Step(stop=("first",)),)


def test_a_rolled_back_start_first_slot_keeps_the_task_that_is_wanted_again() -> None:
    back = UpdateStatus(state=UpdateState.ROLLBACK_STARTED, started_at=at(10))
    made = service(1, template("web:1"), version=3, status=back)
    tasks = [task("old", 1), task("new", 1, created=5, version=2, spec=template("web:2"))]
    assert plan(made, tasks, AROUND).steps == (Step(stop=("new",)),)
