"""Nodes and tasks for the scheduler's tests, and a node set of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from manager.scheduler.nodeset import NodeInfo, NodeSet
from manager.store.store import Store
from manager.store.tables import NODES, TASKS, Table
from swarmcore.aio import at_once
from swarmcore.model.base import Platform, Version
from swarmcore.model.endpoint import Endpoint, PortConfig, PublishMode
from swarmcore.model.node import (
    Availability,
    EngineDescription,
    Node,
    NodeDescription,
    NodeSpec,
    NodeState,
    NodeStatus,
    Plugin,
)
from swarmcore.model.policy import Placement, PlacementPreference, SpreadOver
from swarmcore.model.resources import (
    DiscreteResource,
    GenericResource,
    NamedResource,
    ResourceRequirements,
    Resources,
)
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from tests.fakes.raft import StepClock

NOW = datetime(2031, 5, 1, tzinfo=UTC)
DEFAULT = Placement()


def node(
    node_id: str = "n1",
    *,
    state: NodeState = NodeState.READY,
    availability: Availability = Availability.ACTIVE,
    labels: Mapping[str, str] | None = None,
    engine_labels: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    platform: Platform | None = None,
    plugins: tuple[Plugin, ...] = (),
) -> Node:
    return Node(
        id=node_id,
        spec=NodeSpec(labels=dict(labels or {}), availability=availability),
        status=NodeStatus(state=state),
        description=NodeDescription(
            hostname=node_id,
            platform=platform or Platform(architecture="x86_64", os="linux"),
            resources=resources or Resources(nano_cpus=4_000_000_000, memory_bytes=1000),
            engine=EngineDescription(labels=dict(engine_labels or {}), plugins=plugins),
        ),
    )


def task(
    task_id: str = "t1",
    *,
    service: str = "web",
    version: int | None = 1,
    node_id: str = "",
    state: TaskState = TaskState.PENDING,
    desired: TaskState = TaskState.RUNNING,
    placement: Placement = DEFAULT,
    reserve: Resources | None = None,
    host_port: int = 0,
    generic: tuple[GenericResource, ...] = (),
    when: datetime | None = None,
    err: str = "",
) -> Task:
    ports = (PortConfig(published_port=host_port, publish_mode=PublishMode.HOST),) if host_port else ()
    return Task(
        id=task_id,
        service_id=service,
        spec_version=Version(index=version) if version is not None else None,
        slot=1,
        node_id=node_id,
        spec=TaskSpec(
            placement=placement,
            resources=ResourceRequirements(reservations=reserve) if reserve is not None else None,
        ),
        status=TaskStatus(state=state, timestamp=when, err=err),
        desired_state=desired,
        endpoint=Endpoint(ports=ports) if ports else None,
        generic_resources=generic,
    )


def running(task_id: str, node_id: str, service: str = "web") -> Task:
    return task(task_id, service=service, node_id=node_id, state=TaskState.RUNNING)


def spread(*labels: str, constraints: tuple[str, ...] = ()) -> Placement:
    return Placement(
        constraints=constraints,
        preferences=tuple(
            PlacementPreference(spread=SpreadOver(spread_descriptor=f"node.labels.{label}"))
            for label in labels
        ),
    )


def count(kind: str, value: int) -> GenericResource:
    return GenericResource(discrete_resource_spec=DiscreteResource(kind=kind, value=value))


def named(kind: str, value: str) -> GenericResource:
    return GenericResource(named_resource_spec=NamedResource(kind=kind, value=value))


def info(of: Node, *tasks: Task) -> NodeInfo:
    found = NodeInfo(of)
    for each in tasks:
        found.add(each)
    return found


def node_set(nodes: Iterable[Node], tasks: Iterable[Task] = ()) -> NodeSet:
    view = replace(Store(StepClock()).view(), nodes=Table(NODES, nodes), tasks=Table(TASKS, tasks))
    made = NodeSet()
    at_once(made.load_in_turns(view, NOW))
    return made
