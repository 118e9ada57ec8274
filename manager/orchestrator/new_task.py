"""Tasks from services."""

from __future__ import annotations

from datetime import datetime

from swarmcore.model.base import Annotations
from swarmcore.model.cluster import Cluster
from swarmcore.model.place import Place
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState, TaskStatus


def new_task(
    service: Service, place: Place, task_id: str, desired: TaskState, now: datetime, cluster: Cluster | None
) -> Task:
    """`now` is its time of creation, which orders the tasks of a place."""
    template = service.spec.task_template
    default_driver = cluster.spec.task_defaults.log_driver if cluster is not None else None
    return Task(
        id=task_id,
        created_at=now,
        spec=template,
        spec_version=service.spec_version,
        service_id=service.id,
        slot=place if isinstance(place, int) else 0,
        node_id=place if isinstance(place, str) else "",
        desired_state=desired,
        status=TaskStatus(timestamp=now, state=TaskState.NEW, message="created"),
        service_annotations=Annotations(name=service.spec.name, labels=dict(service.spec.labels)),
        endpoint=service.endpoint,
        log_driver=template.log_driver or default_driver,
    )
