"""The ladder: what the agent does next with a task."""

from __future__ import annotations

import pytest

from swarmcore.model.task import TaskState as S
from worker.tasks.lifecycle import LADDER, Action, next_rung, state_after_failure


@pytest.mark.parametrize(
    ("state", "desired", "action"),
    [
        (S.ASSIGNED, S.RUNNING, Action.PROCEED),
        (S.ASSIGNED, S.READY, Action.PROCEED),
        (S.PREPARING, S.READY, Action.PREPARE),
        (S.READY, S.READY, None),
        (S.READY, S.RUNNING, Action.PROCEED),
        (S.STARTING, S.READY, Action.START),
        (S.RUNNING, S.RUNNING, Action.WAIT),
        (S.RUNNING, S.COMPLETE, Action.WAIT),
        (S.RUNNING, S.SHUTDOWN, Action.STOP),
        (S.ASSIGNED, S.REMOVE, Action.STOP),
        (S.FAILED, S.RUNNING, None),
        (S.SHUTDOWN, S.REMOVE, None),
        (S.ORPHANED, S.SHUTDOWN, None),
    ],
)
def test_the_next_rung_follows_observed_and_desired_state(
    state: S, desired: S, action: Action | None
) -> None:
    rung = next_rung(state, desired)
    assert (rung.action if rung else None) is action


def test_every_rung_leads_up() -> None:
    assert all(rung.leads_to > state for state, rung in LADDER.items())


def test_every_state_that_an_agent_can_meet_has_an_answer() -> None:
    for state in S:
        if state >= S.ASSIGNED and state is not S.REMOVE:
            for desired in S:
                next_rung(state, desired)


@pytest.mark.parametrize(
    ("state", "becomes"),
    [
        (S.ASSIGNED, S.REJECTED),
        (S.PREPARING, S.REJECTED),
        (S.READY, S.REJECTED),
        (S.STARTING, S.FAILED),
        (S.RUNNING, S.FAILED),
    ],
)
def test_failing_before_the_start_is_a_rejection(state: S, becomes: S) -> None:
    assert state_after_failure(state) is becomes
