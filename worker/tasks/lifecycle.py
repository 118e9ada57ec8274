"""The task state machine as the agent walks it: a table and one pure function.

The law: observed state only grows; PREPARE, START and WAIT may carry a task past its desired state (what
is under way is not interrupted by "not further than READY"), every other step waits until the desired
state lies above; a desired state from SHUTDOWN on overrides everything and leads to SHUTDOWN.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from msgspec import Struct

from swarmcore.model.task import TaskState

S = TaskState


class Action(Enum):
    PROCEED = auto()
    PREPARE = auto()
    START = auto()
    WAIT = auto()
    STOP = auto()


class Rung(Struct, frozen=True):
    """Do `action`; when it succeeds the observed state is `leads_to`, with `message` for people."""

    action: Action
    leads_to: TaskState
    waits_for_desired: bool
    message: str


LADDER: Mapping[TaskState, Rung] = {
    S.ASSIGNED: Rung(Action.PROCEED, S.ACCEPTED, True, "accepted"),
    S.ACCEPTED: Rung(Action.PROCEED, S.PREPARING, True, "preparing"),
    S.PREPARING: Rung(Action.PREPARE, S.READY, False, "prepared"),
    S.READY: Rung(Action.PROCEED, S.STARTING, True, "starting"),
    S.STARTING: Rung(Action.START, S.RUNNING, False, "started"),
    S.RUNNING: Rung(Action.WAIT, S.COMPLETE, False, "finished"),
}
STOP = Rung(Action.STOP, S.SHUTDOWN, False, "shutdown")


def next_rung(state: TaskState, desired: TaskState) -> Rung | None:
    """None means: nothing to do until the desired state changes."""
    if state.is_final:
        return None
    if desired >= S.SHUTDOWN:
        return STOP
    rung = LADDER[state]
    return None if rung.waits_for_desired and state >= desired else rung


def state_after_failure(state: TaskState) -> TaskState:
    """A task that never came to start was REJECTED by the node; one that did has FAILED."""
    return S.REJECTED if state < S.STARTING else S.FAILED
