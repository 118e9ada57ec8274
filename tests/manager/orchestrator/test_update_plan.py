"""The next move of an update: how many slots, when, what counts as a failure, and what is said about it."""

from __future__ import annotations

from datetime import datetime

import pytest
from msgspec.structs import replace

from manager.orchestrator.steps import Around
from manager.orchestrator.update_plan import Move, next_move_in_turns
from swarmcore.aio import at_once
from swarmcore.model.place import Place
from swarmcore.model.policy import FailureAction, UpdateConfig, UpdateOrder
from swarmcore.model.service import Service, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState
from tests.manager.orchestrator.objects import SECOND, S, at, by_place, node, plan, service, task, template

U = UpdateState
UPDATING = UpdateStatus(state=U.UPDATING, started_at=at(10), message="update in progress")
ROLLING_BACK = UpdateStatus(
    state=U.ROLLBACK_STARTED, started_at=at(10), message="manually requested rollback"
)
CAUSE = "due to failure or early termination of task new1"


def old(slot: int, state: TaskState = S.RUNNING, desired: TaskState = S.RUNNING) -> Task:
    return task(f"old{slot}", slot, state, desired)


def done(slot: int, running_since: float = 11, state: TaskState = S.RUNNING) -> list[Task]:
    """A slot that the update has been to."""
    new = task(
        f"new{slot}", slot, state, version=2, spec=template("web:2"), created=10.5, since=running_since
    )
    return [old(slot, S.SHUTDOWN, S.SHUTDOWN), new]


def updated(
    config: UpdateConfig | None = None, status: UpdateStatus | None = UPDATING, replicas: int = 4
) -> Service:
    made = service(replicas, template("web:2"), 2, config, status)
    return replace(
        made, spec=replace(made.spec, rollback_config=config), previous_spec=service(replicas).spec
    )


def move(made: Service, tasks: list[Task], dirty: list[int], now: float = 12, **began: datetime) -> Move:
    around = Around(now=at(now), nodes={"n1": node()}, began=began)
    return at_once(next_move_in_turns(made, by_place(tasks), dirty, around))


def slots_of(made: Move) -> list[Place | None]:
    return [step.create_in for step in made.steps]


@pytest.mark.parametrize(
    ("config", "slots"),
    [
        (None, [1]),
        (UpdateConfig(parallelism=1), [1]),
        (UpdateConfig(parallelism=3), [1, 2, 3]),
        (UpdateConfig(parallelism=0), [1, 2, 3, 4]),
        (UpdateConfig(parallelism=9), [1, 2, 3, 4]),
    ],
    ids=["by default", "one", "three", "all", "more than there are"],
)
def test_an_update_begins_with_as_many_slots_as_may_be_replaced_at_once(
    config: UpdateConfig | None, slots: list[int]
) -> None:
    made = move(updated(config, status=None), [old(n) for n in range(1, 5)], [1, 2, 3, 4])
    assert slots_of(made) == slots
    assert made.status == replace(UPDATING, started_at=at(12))


def test_the_next_slot_follows_when_one_has_come_up() -> None:
    config = UpdateConfig(parallelism=2)
    tasks = [*done(1), *done(2, state=S.STARTING), old(3), old(4)]
    assert slots_of(move(updated(config), tasks, [3, 4])) == [3]


def test_a_slot_keeps_its_place_for_the_delay_and_the_end_of_that_is_told() -> None:
    config = UpdateConfig(parallelism=1, delay=30 * SECOND)
    tasks = [*done(1), old(2)]
    assert move(updated(config), tasks, [2], now=40.9) == Move(due=at(41))
    assert slots_of(move(updated(config), tasks, [2], now=41)) == [2]


def test_slots_that_scaling_adds_during_an_update_take_no_place_in_it() -> None:
    added = [task(f"added{n}", n, S.PENDING, node_id="", version=2, created=11) for n in (5, 6)]
    made = updated(UpdateConfig(parallelism=1), replicas=6)
    assert slots_of(move(made, [*done(1), old(2), *added], [2])) == [2]


def test_stop_first_stops_the_old_task_and_start_first_leaves_it() -> None:
    (stop_first,) = move(updated(UpdateConfig(parallelism=1)), [old(1)], [1]).steps
    assert (stop_first.stop, stop_first.create_as) == (("old1",), S.READY)
    config = UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST)
    (start_first,) = move(updated(config), [old(1)], [1]).steps
    assert (start_first.stop, start_first.create_in, start_first.create_as) == ((), 1, S.RUNNING)


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_a_slot_whose_task_ended_for_good_is_renewed_at_once(order: UpdateOrder) -> None:
    ended = old(1, S.COMPLETE, S.SHUTDOWN)
    (step,) = move(updated(UpdateConfig(parallelism=1, order=order)), [ended], [1]).steps
    assert (step.stop, step.create_in, step.create_as) == ((), 1, S.RUNNING)


@pytest.mark.parametrize(
    ("status", "action", "state", "text", "back"),
    [
        (UPDATING, FailureAction.PAUSE, U.PAUSED, f"update paused {CAUSE}", False),
        (UPDATING, FailureAction.ROLLBACK, U.ROLLBACK_STARTED, f"update rolled back {CAUSE}", True),
        (ROLLING_BACK, FailureAction.PAUSE, U.ROLLBACK_PAUSED, f"rollback paused {CAUSE}", False),
        (ROLLING_BACK, FailureAction.ROLLBACK, U.ROLLBACK_PAUSED, f"rollback paused {CAUSE}", False),
    ],
)
def test_what_a_failure_leads_to_and_what_is_said(
    status: UpdateStatus, action: FailureAction, state: UpdateState, text: str, back: bool
) -> None:
    config = UpdateConfig(parallelism=1, failure_action=action)
    made = move(updated(config, status), [*done(1, state=S.FAILED), old(2)], [2])
    assert made.steps == ()
    assert made.status is not None
    assert (made.status.state, made.status.message, made.roll_back) == (state, text, back)


def test_a_failure_is_passed_over_where_that_is_asked_for() -> None:
    config = UpdateConfig(parallelism=1, failure_action=FailureAction.CONTINUE)
    assert slots_of(move(updated(config), [*done(1, state=S.FAILED), old(2)], [2])) == [2]


def test_without_a_previous_spec_there_is_only_a_pause() -> None:
    config = UpdateConfig(parallelism=1, failure_action=FailureAction.ROLLBACK)
    made = replace(updated(config), previous_spec=None)
    assert (status := move(made, done(1, state=S.FAILED), []).status) is not None
    assert status.state is U.PAUSED


@pytest.mark.parametrize(
    ("ratio", "failures", "stops"),
    [(0.0, 1, True), (0.25, 1, False), (0.25, 2, True), (0.5, 2, False), (1.0, 4, False)],
)
def test_as_large_a_part_may_fail_as_the_ratio_says_and_no_more(
    ratio: float, failures: int, stops: bool
) -> None:
    config = UpdateConfig(parallelism=1, max_failure_ratio=ratio)
    tasks = [t for n in range(1, 5) for t in done(n, state=S.FAILED if n <= failures else S.RUNNING)]
    made = move(updated(config), tasks, [])
    assert (made.status is not None) is stops


@pytest.mark.parametrize(
    ("state", "ended", "fails"),
    [
        (S.FAILED, 31.0, True),
        (S.COMPLETE, 31.0, True),
        (S.FAILED, 31.1, False),
        (S.REJECTED, 31.1, True),
        (S.SHUTDOWN, 12.0, False),
        (S.ORPHANED, 12.0, False),
    ],
    ids=["within", "even well", "later", "never ran", "was stopped", "was lost"],
)
def test_a_task_fails_the_update_if_it_ends_by_itself_within_the_monitors_time(
    state: TaskState, ended: float, fails: bool
) -> None:
    config = UpdateConfig(parallelism=1, monitor=20 * SECOND)
    made = move(updated(config), [*done(1, ended, state), old(2)], [2], now=32, new1=at(11))
    assert (made.status is not None and made.status.state is U.PAUSED) is fails


@pytest.mark.parametrize("state", [U.PAUSED, U.ROLLBACK_PAUSED])
def test_what_is_paused_stays_so(state: UpdateState) -> None:
    assert move(updated(status=replace(UPDATING, state=state)), [old(1)], [1]) == Move()


@pytest.mark.parametrize("state", [U.COMPLETED, U.ROLLBACK_COMPLETED])
def test_outdated_slots_begin_an_update_after_one_that_is_over(state: UpdateState) -> None:
    assert move(updated(status=replace(UPDATING, state=state)), done(1), []) == Move()
    status = move(updated(status=replace(UPDATING, state=state)), [old(1)], [1]).status
    assert status == replace(UPDATING, started_at=at(12))


@pytest.mark.parametrize(
    ("delay", "monitor", "end"), [(0, 0, 16), (0, 60, 71), (30, 5, 42), (30, 30, 42), (5, 30, 41)]
)
def test_the_last_slot_is_watched_before_the_update_is_complete(delay: int, monitor: int, end: int) -> None:
    config = UpdateConfig(parallelism=1, delay=delay * SECOND, monitor=monitor * SECOND)
    tasks = [*done(1, 10.9), *done(2, 11)]
    assert move(updated(config), tasks, [], now=end - 0.1).status is None
    status = move(updated(config), tasks, [], now=end).status
    assert status == replace(UPDATING, state=U.COMPLETED, completed_at=at(end), message="update completed")


def test_a_rollback_says_that_it_is_one_and_begins_when_the_leader_takes_it_up() -> None:
    asked = replace(ROLLING_BACK, started_at=None)
    assert move(updated(status=asked), [old(1)], [1]).status == replace(asked, started_at=at(12))
    status = move(updated(status=ROLLING_BACK), done(1), [], now=100).status
    assert status is not None
    assert (status.state, status.message) == (U.ROLLBACK_COMPLETED, "rollback completed")


def test_an_update_has_its_own_settings_and_a_rollback_its_own() -> None:
    made = updated(UpdateConfig(parallelism=1))
    made = replace(made, spec=replace(made.spec, rollback_config=UpdateConfig(parallelism=2)))
    tasks = [old(n) for n in range(1, 5)]
    assert len(move(made, tasks, [1, 2, 3, 4]).steps) == 1
    assert len(move(replace(made, update_status=ROLLING_BACK), tasks, [1, 2, 3, 4]).steps) == 2


def test_a_scale_down_during_an_update_removes_slots_and_goes_on_with_the_rest() -> None:
    tasks = [*done(1), old(2), old(3), old(4)]
    made = plan(
        updated(UpdateConfig(parallelism=1), replicas=2), tasks, Around(now=at(12), nodes={"n1": node()})
    )
    removed = {id for step in made.steps for id in step.remove}
    assert removed == {"old3", "old4"}
    assert [step.create_in for step in made.steps if step.create_in is not None] == [2]
