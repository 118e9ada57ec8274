"""What a plan rests on and what it asks for: steps that each commit whole, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime

from msgspec import Struct

from manager.orchestrator.fitness import must_move
from swarmcore.model.cluster import DEFAULT_MAX_REPLICAS
from swarmcore.model.node import Node
from swarmcore.model.place import Place
from swarmcore.model.service import ServiceSpec, UpdateStatus
from swarmcore.model.task import Task, TaskState

#: Of one plan. Whoever asks for a thousand million replicas gets a list of so many steps at a time.
MAX_STEPS = 10_000


class Around(Struct, frozen=True, kw_only=True):
    """What matters for a plan besides the service and its tasks."""

    now: datetime
    nodes: Mapping[str, Node]  # by id
    evicted: Set[str] = frozenset()  # ids of tasks that their nodes have no room for any more
    #: Since when tasks that have ended had been running, as far as this leader saw them end.
    began: Mapping[str, datetime] = {}
    max_replicas: int = DEFAULT_MAX_REPLICAS  # that one service may have

    def node_of(self, task: Task) -> Node | None:
        return self.nodes.get(task.node_id)

    def must_leave(self, task: Task) -> bool:
        return task.id in self.evicted or must_move(task, self.node_of(task))

    def is_over(self, task: Task) -> bool:
        """It shall run, but has ended or must leave its node."""
        return task.status.state.is_final or self.must_leave(task)


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """Task ids whose desired state changes, and at most one new task: all of it or nothing."""

    start: tuple[str, ...] = ()  # to RUNNING
    stop: tuple[str, ...] = ()  # to SHUTDOWN
    remove: tuple[str, ...] = ()  # to REMOVE
    create_in: Place | None = None  # where a new task is made
    create_as: TaskState = TaskState.RUNNING  # its desired state


class Plan(Struct, frozen=True, kw_only=True):
    steps: tuple[Step, ...] = ()
    has_more: bool = (
        False  # there are more steps than one plan may have: make the next one when these are done
    )
    #: The moment at which something is due that no commit will announce.
    due: datetime | None = None
    update_status: UpdateStatus | None = None  # a new one to write
    roll_back_to: ServiceSpec | None = None
