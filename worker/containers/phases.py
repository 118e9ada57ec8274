"""The life of a container as a table and two pure functions; everything that changes a phase asks them.

The law: a phase is on disk before what it announces is begun, so that the next daemon knows at least as much as has
happened. EXITED is for good. Who asks: `start` for CREATE and RUN, a daemon that adopts for UNDO, whoever sees the end
(the watch, a start that failed, a stop before the start) for END.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum, auto


class Phase(StrEnum):
    PREPARED = "prepared"  # bundle written, nothing runs
    CREATING = "creating"  # conmon was started; how far it came is not known
    RUNNING = "running"
    EXITED = "exited"


class Step(Enum):
    CREATE = auto()  # conmon is about to be started, perhaps once more with another runtime
    RUN = auto()  # the runtime has started the container
    UNDO = auto()  # nothing is left of a creation that was broken off
    END = auto()  # its end is known; learned again where writing it down failed


class Adoption(Enum):
    """What a daemon does with a container of an earlier one."""

    KEEP = auto()  # it can be started
    START_OVER = auto()  # undo what is half made
    WATCH = auto()  # it runs, or has ended meanwhile
    TELL = auto()  # its end is known


_NEXT: Mapping[Phase, Mapping[Step, Phase]] = {
    Phase.PREPARED: {Step.CREATE: Phase.CREATING, Step.END: Phase.EXITED},
    Phase.CREATING: {
        Step.CREATE: Phase.CREATING,
        Step.RUN: Phase.RUNNING,
        Step.UNDO: Phase.PREPARED,
        Step.END: Phase.EXITED,
    },
    Phase.RUNNING: {Step.END: Phase.EXITED},
    Phase.EXITED: {Step.END: Phase.EXITED},
}
_ADOPTION: Mapping[Phase, Adoption] = {
    Phase.PREPARED: Adoption.KEEP,
    Phase.CREATING: Adoption.START_OVER,
    Phase.RUNNING: Adoption.WATCH,
    Phase.EXITED: Adoption.TELL,
}


def next_phase(phase: Phase, step: Step) -> Phase | None:
    """None: from there that step cannot be made."""
    return _NEXT[phase].get(step)


def adoption(phase: Phase) -> Adoption:
    return _ADOPTION[phase]
