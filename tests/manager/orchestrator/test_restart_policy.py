"""Whether an ended task gets a successor, and when that starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.orchestrator.restart_policy import seen_at, should_restart, start_time, successor_state
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.task import Task, TaskState
from tests.manager.orchestrator.objects import SECOND, S, at, node, task, template

DOWN = node("n1", NodeState.DOWN)
DRAINED = node("n1", availability=Availability.DRAIN)
FINAL = (S.COMPLETE, S.FAILED, S.REJECTED)


def history(ends: list[float], policy: RestartPolicy) -> list[Task]:
    """A slot's tasks that failed at these times, each made when the one before had failed."""
    made = [0.0, *ends]
    return [
        task(
            f"t{n}",
            1,
            S.FAILED,
            S.SHUTDOWN,
            spec=template(policy=policy),
            created=made[n],
            since=end,
        )
        for n, end in enumerate(ends)
    ]


@pytest.mark.parametrize(("failures", "again"), [(1, True), (2, True), (3, False)])
def test_attempts_are_counted_in_the_slot(failures: int, again: bool) -> None:
    slot = history([float(n + 1) for n in range(failures)], RestartPolicy(max_attempts=2))
    assert should_restart(slot[-1], slot) is again


def test_a_new_spec_has_all_its_attempts() -> None:
    policy = RestartPolicy(max_attempts=1)
    old = history([1.0, 2.0], policy)
    new = task("t9", 1, S.FAILED, created=3, since=4, version=2, spec=template(policy=policy))
    assert should_restart(new, [*old, new])


@pytest.mark.parametrize(("last", "again"), [(105.0, False), (500.0, True)])
def test_attempts_outside_the_window_are_forgotten(last: float, again: bool) -> None:
    slot = history([100.0, 101.0, last], RestartPolicy(max_attempts=2, window=60 * SECOND))
    assert should_restart(slot[-1], slot) is again


@given(
    st.lists(st.floats(0.1, 100), min_size=1, max_size=8),
    st.sampled_from(list(RestartCondition)),
    st.none() | st.integers(0, 6),
    st.sampled_from(FINAL),
)
def test_no_policy_ever_restarts_more_often_than_it_says(
    gaps: list[float], condition: RestartCondition, attempts: int | None, end: TaskState
) -> None:
    policy = RestartPolicy(condition=condition, max_attempts=attempts)
    ends = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    slot = [replace(t, status=replace(t.status, state=end)) for t in history(ends, policy)]
    again = should_restart(slot[-1], slot)
    if condition is RestartCondition.NONE or (condition is RestartCondition.ON_FAILURE and end is S.COMPLETE):
        assert not again
    else:
        assert again is (not attempts or len(slot) - 1 < attempts)


WAITING = task("new", state=S.READY, desired=S.READY, created=10)


@pytest.mark.parametrize(
    ("old", "where", "start"),
    [
        (task(state=S.FAILED, desired=S.SHUTDOWN), node(), 15),
        (task(state=S.COMPLETE, desired=S.SHUTDOWN), node(), 15),
        (task(state=S.REJECTED, desired=S.SHUTDOWN), node(), 15),
        (task(state=S.FAILED, desired=S.SHUTDOWN), DOWN, 10),
        (task(state=S.FAILED, desired=S.SHUTDOWN), DRAINED, 10),
        (task(state=S.SHUTDOWN, desired=S.SHUTDOWN), node(), 10),
        (task(state=S.RUNNING, desired=S.SHUTDOWN), node(), 70),
        (task(state=S.RUNNING, desired=S.SHUTDOWN), DOWN, 10),
        (task(state=S.RUNNING, desired=S.RUNNING), node(), 10),
        (task(state=S.ORPHANED, desired=S.SHUTDOWN), node(), 10),
        (task(state=S.FAILED, desired=S.SHUTDOWN, version=0), node(), 10),
        (
            task(state=S.FAILED, desired=S.SHUTDOWN, spec=template(policy=RestartPolicy(delay=SECOND))),
            node(),
            11,
        ),
    ],
    ids=[
        "failed",
        "complete",
        "rejected",
        "failed on a dead node",
        "failed on a drained node",
        "was stopped",
        "still stops: a minute at most",
        "nobody can stop it",
        "shall run beside it",
        "given up",
        "of an older spec",
        "own delay",
    ],
)
def test_when_a_successor_starts(old: Task, where: Node, start: float) -> None:
    assert start_time(WAITING, [old], {"n1": where}) == at(start)


def test_a_task_without_a_predecessor_need_not_wait() -> None:
    assert start_time(WAITING, [], {}) == at(10)


@given(st.integers(0, 100), st.floats(0, 1000), st.booleans())
def test_a_successor_never_waits_longer_than_delay_and_a_minute(delay: int, ran: float, stops: bool) -> None:
    policy = RestartPolicy(delay=delay * SECOND)
    old = task(
        state=S.RUNNING if stops else S.FAILED, desired=S.SHUTDOWN, since=ran, spec=template(policy=policy)
    )
    start = start_time(WAITING, [old], {"n1": node()})
    assert WAITING.created_at is not None
    assert 0 <= (start - WAITING.created_at).total_seconds() <= max(60, delay)


@pytest.mark.parametrize(
    ("old", "where", "desired"),
    [
        (task(state=S.FAILED), node(), S.READY),
        (task(state=S.FAILED, spec=template(policy=RestartPolicy(delay=0))), node(), S.RUNNING),
        (task(state=S.FAILED), DRAINED, S.RUNNING),
        (task(state=S.RUNNING), DRAINED, S.READY),
        (task(state=S.RUNNING), DOWN, S.RUNNING),
        (task(state=S.RUNNING), None, S.RUNNING),
        (task(state=S.PENDING, node_id=""), None, S.RUNNING),
    ],
)
def test_a_successor_begins_ready_only_if_it_must_wait(
    old: Task, where: Node | None, desired: TaskState
) -> None:
    assert successor_state(old, where) is desired


def test_an_agents_time_from_the_future_is_not_believed() -> None:
    ahead = task(since=5)
    ahead = replace(ahead, status=replace(ahead.status, timestamp=at(5000)))
    assert seen_at(ahead) == at(5)
