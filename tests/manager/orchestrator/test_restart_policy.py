"""Whether an ended task gets a successor, and when that starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.orchestrator.restart_policy import seen_at, should_restart, start_time, successor_state
from swarmcore.model.base import Annotations
from swarmcore.model.container import ContainerSpec
from swarmcore.model.endpoint import DRAIN_LABEL
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.task import Task, TaskSpec, TaskState
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


def stopped(number: int, at: float, policy: RestartPolicy, state: TaskState = S.SHUTDOWN) -> Task:
    """One that was moved away."""
    spec = template(policy=policy)
    return task(f"m{number}", 1, state, S.SHUTDOWN, spec=spec, created=at, since=at + 1)


@pytest.mark.parametrize("state", [S.SHUTDOWN, S.ORPHANED, S.RUNNING])
def test_moves_use_no_attempts_up(state: TaskState) -> None:
    policy = RestartPolicy(max_attempts=1)
    moves = [stopped(number, 10.0 * number, policy, state) for number in range(5)]
    first = task("f1", 1, S.FAILED, S.SHUTDOWN, spec=template(policy=policy), created=60, since=70)
    assert should_restart(first, [*moves, first])
    more = [stopped(number, 10.0 * number, policy, state) for number in range(8, 12)]
    assert should_restart(more[-1], [*moves, first, *more]), (
        "the last attempt runs elsewhere when it is moved"
    )
    second = task("f2", 1, S.FAILED, S.SHUTDOWN, spec=template(policy=policy), created=130, since=140)
    assert not should_restart(second, [*moves, first, *more, second])


@pytest.mark.parametrize("window", [1, 5, 10, 60])
@pytest.mark.parametrize("delay", [0, 5, 10])
def test_a_task_that_fails_at_once_is_given_up_whatever_window_and_delay(window: int, delay: int) -> None:
    policy = RestartPolicy(max_attempts=3, window=window * SECOND, delay=delay * SECOND)
    slot = history([0.2 + n * (delay + 0.2) for n in range(4)], policy)
    assert [should_restart(one, slot[: n + 1]) for n, one in enumerate(slot)] == [True, True, True, False]


@pytest.mark.parametrize("preparing", [0.5, 30])
def test_one_that_cannot_even_be_prepared_is_given_up_however_long_that_takes(preparing: float) -> None:
    policy = RestartPolicy(max_attempts=3, window=SECOND, delay=5 * SECOND)
    slot = history([(n + 1) * (5 + preparing) for n in range(4)], policy)
    slot = [replace(one, status=replace(one.status, state=S.REJECTED)) for one in slot]
    assert [should_restart(one, slot[: n + 1]) for n, one in enumerate(slot)] == [True, True, True, False]


def test_one_that_runs_for_longer_than_the_window_is_never_given_up() -> None:
    policy = RestartPolicy(max_attempts=1, window=10 * SECOND, delay=5 * SECOND)
    slot = history([n * 15.0 for n in range(1, 9)], policy)
    assert all(should_restart(one, slot[: n + 1]) for n, one in enumerate(slot))


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


def stopping(grace: int, drain: str = "") -> Task:
    spec = TaskSpec(container_spec=ContainerSpec(image="web:1", stop_grace_period=grace * SECOND))
    labels = {DRAIN_LABEL: drain} if drain else {}
    old = task(state=S.RUNNING, desired=S.SHUTDOWN, spec=spec)
    return replace(old, service_annotations=Annotations(name="web", labels=labels))


@pytest.mark.parametrize(
    ("old", "start"),
    [
        (stopping(10), 70),
        (stopping(50), 70),
        (stopping(120), 140),
        (stopping(3600), 3620),
        (stopping(30, "1h"), 3650),
        (stopping(120, "nonsense"), 140),
    ],
)
def test_a_successor_waits_as_long_as_its_predecessor_may_take_to_stop(old: Task, start: float) -> None:
    assert start_time(WAITING, [old], {"n1": node()}) == at(start)
    assert start_time(WAITING, [old, stopping(1)], {"n1": node()}) == at(start), "the slowest counts"
    assert start_time(WAITING, [old], {"n1": DOWN}) == at(10), "nobody can stop it"


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
