"""What a plan asks for: steps that each commit whole, and when to look again."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from swarmcore.model.service import ServiceSpec, UpdateStatus
from swarmcore.model.task import TaskState


class Step(Struct, frozen=True, kw_only=True):
    """Task ids whose desired state changes, and at most one new task: all of it or nothing."""

    start: tuple[str, ...] = ()  # to RUNNING
    stop: tuple[str, ...] = ()  # to SHUTDOWN
    remove: tuple[str, ...] = ()  # to REMOVE
    create_in: int | None = None  # slot of a new task
    create_as: TaskState = TaskState.RUNNING  # its desired state


class Plan(Struct, frozen=True, kw_only=True):
    steps: tuple[Step, ...] = ()
    #: The moment at which something is due that no commit will announce.
    due: datetime | None = None
    update_status: UpdateStatus | None = None  # a new one to write
    roll_back_to: ServiceSpec | None = None
