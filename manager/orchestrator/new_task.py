"""Tasks from services: making one, and whether an existing one still is what the service wants."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from manager.orchestrator.fitness import meets_constraints
from swarmcore.model.base import Annotations
from swarmcore.model.cluster import Cluster
from swarmcore.model.endpoint import EndpointSpec
from swarmcore.model.node import Node
from swarmcore.model.policy import Placement
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState, TaskStatus


def new_task(
    service: Service, slot: int, task_id: str, desired: TaskState, now: datetime, cluster: Cluster | None
) -> Task:
    """`now` is its time of creation, which orders the tasks of a slot."""
    template = service.spec.task_template
    default_driver = cluster.spec.task_defaults.log_driver if cluster is not None else None
    return Task(
        id=task_id,
        created_at=now,
        spec=template,
        spec_version=service.spec_version,
        service_id=service.id,
        slot=slot,
        desired_state=desired,
        status=TaskStatus(timestamp=now, state=TaskState.NEW, message="created"),
        service_annotations=Annotations(name=service.spec.name, labels=dict(service.spec.labels)),
        endpoint=service.endpoint,
        log_driver=template.log_driver or default_driver,
    )


def is_current(task: Task, service: Service, node: Node | None) -> bool:
    """Not dirty: it was made from this spec, or from an older one that asks for the same.

    A change of placement alone leaves a task alone whose node meets the new constraints, as in Docker.
    """
    if task.spec_version == service.spec_version:
        return True
    template = service.spec.task_template
    if task.endpoint is not None and task.endpoint.spec != (service.spec.endpoint_spec or EndpointSpec()):
        return False
    if task.spec == template:
        return True
    same_but_placement = replace(task.spec, placement=None) == replace(template, placement=None)
    if not same_but_placement or node is None:
        return False
    old, new = task.spec.placement or Placement(), template.placement or Placement()
    if replace(old, constraints=()) != replace(new, constraints=()):
        return False
    return meets_constraints(replace(task, spec=template), node)
