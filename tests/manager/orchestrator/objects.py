"""Small objects for the orchestrator's pure parts, and these parts without turns for others."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from manager.orchestrator.places import Choose, Places, by_place_in_turns
from manager.orchestrator.replicated_slots import choose_slots
from manager.orchestrator.service_plan import plan_in_turns, plan_removed_in_turns
from manager.orchestrator.steps import Around, Plan
from swarmcore.aio import at_once
from swarmcore.model.base import Version
from swarmcore.model.container import ContainerSpec
from swarmcore.model.node import Availability, Node, NodeDescription, NodeSpec, NodeState, NodeStatus
from swarmcore.model.policy import RestartPolicy, UpdateConfig
from swarmcore.model.resources import Resources
from swarmcore.model.service import ReplicatedService, Service, ServiceMode, ServiceSpec, UpdateStatus
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus

T0 = datetime(2030, 1, 1, tzinfo=UTC)
S = TaskState
SECOND = 1_000_000_000


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def template(image: str = "web:1", policy: RestartPolicy | None = None) -> TaskSpec:
    return TaskSpec(container_spec=ContainerSpec(image=image), restart_policy=policy)


def node(
    id: str = "n1",
    state: NodeState = NodeState.READY,
    availability: Availability = Availability.ACTIVE,
    labels: dict[str, str] | None = None,
    cpus: int = 4,
) -> Node:
    return Node(
        id=id,
        spec=NodeSpec(availability=availability, labels=labels or {}),
        status=NodeStatus(state=state),
        description=NodeDescription(hostname=id, resources=Resources(nano_cpus=cpus * 10**9)),
    )


def service(
    replicas: int = 1,
    spec: TaskSpec | None = None,
    version: int = 1,
    update: UpdateConfig | None = None,
    status: UpdateStatus | None = None,
) -> Service:
    return Service(
        id="svc",
        version=Version(index=version),
        spec_version=Version(index=version),
        spec=ServiceSpec(
            name="web",
            task_template=spec or template(),
            mode=ServiceMode(replicated=ReplicatedService(replicas=replicas)),
            update_config=update,
        ),
        update_status=status,
    )


def task(
    id: str = "t1",
    slot: int = 1,
    state: TaskState = S.RUNNING,
    desired: TaskState = S.RUNNING,
    *,
    node_id: str = "n1",
    spec: TaskSpec | None = None,
    version: int = 1,
    created: float = 0,
    since: float | None = None,
) -> Task:
    """`created` and `since` (when it came to its state) in seconds after T0."""
    seen = at(created if since is None else since)
    return Task(
        id=id,
        service_id="svc",
        slot=slot,
        node_id=node_id,
        spec=spec or template(),
        spec_version=Version(index=version),
        created_at=at(created),
        updated_at=seen,
        status=TaskStatus(state=state, timestamp=seen),
        desired_state=desired,
    )


def by_place(tasks: Iterable[Task]) -> Places:
    return at_once(by_place_in_turns(tasks))


def plan(service: Service, tasks: Iterable[Task], around: Around, choose: Choose = choose_slots) -> Plan:
    return at_once(plan_in_turns(service, tasks, around, choose))


def plan_removed(tasks: Iterable[Task]) -> Plan:
    return at_once(plan_removed_in_turns(tasks))
