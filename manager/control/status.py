"""How far a service is: counts of its tasks, and whether a task is of the current spec."""

from __future__ import annotations

from msgspec import field

from manager.rules.current import is_current, is_lost
from manager.store.tables import Tables
from swarmcore.model.base import Part, shown
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState


class ServiceStatus(Part, frozen=True, kw_only=True):
    """`ServiceStatus` of GET /services?status=true."""

    running_tasks: int = shown(0)
    desired_tasks: int = shown(0)
    completed_tasks: int = field(default_factory=lambda: 0)


def service_status(view: Tables, service: Service) -> ServiceStatus:
    """Running counts every running task, also an outdated one on its way out (swarmkit ListServiceStatuses).

    One on a node that is down does not count, though its last word was that it runs.
    """
    tasks = view.tasks.find("service_id", service.id)
    mode = service.spec.mode
    completed = sum(
        1 for task in tasks if task.status.state is TaskState.COMPLETE and _iterated(task, service)
    )
    if mode.global_ is not None:
        desired = sum(1 for task in tasks if task.desired_state is TaskState.RUNNING)
    elif mode.global_job is not None:
        desired = sum(
            1
            for task in tasks
            if task.desired_state is TaskState.COMPLETE and task.status.state is not TaskState.COMPLETE
        )
    elif mode.replicated_job is not None:
        desired = mode.replicated_job.max_concurrent or 1
    else:
        desired = service.spec.replicas
    return ServiceStatus(
        running_tasks=sum(1 for task in tasks if _runs(task, view)),
        desired_tasks=desired,
        completed_tasks=completed if mode.global_job or mode.replicated_job else 0,
    )


def _runs(task: Task, view: Tables) -> bool:
    return task.status.state is TaskState.RUNNING and not is_lost(task, view.nodes.get(task.node_id))


def _iterated(task: Task, service: Service) -> bool:
    status = service.job_status
    return status is None or task.job_iteration is None or task.job_iteration == status.job_iteration


def is_up_to_date(view: Tables, task: Task) -> bool:
    """The task is what the service's spec wants now (the CLI's progress waits for such tasks)."""
    service = view.services.get(task.service_id)
    return service is not None and is_current(task, service, view.nodes.get(task.node_id))
