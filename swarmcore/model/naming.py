"""Names that people see: of tasks and of their slots."""

from __future__ import annotations

from swarmcore.model.task import Task


def slot_text(task: Task) -> str:
    """The task's place in its service: its number, or the node where there is one task a node."""
    return str(task.slot) if task.slot else task.node_id


def task_name(task: Task) -> str:
    """`service.slot.taskid`, Docker's name of the task's container."""
    return task.name or f"{task.service_annotations.name}.{slot_text(task)}.{task.id}"
