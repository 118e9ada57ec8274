"""Names of tasks that people see."""

from __future__ import annotations

from swarmcore.model.place import place_of
from swarmcore.model.task import Task


def task_name(task: Task) -> str:
    """`service.place.taskid`, Docker's name of the task's container."""
    return task.name or f"{task.service_annotations.name}.{place_of(task)}.{task.id}"
