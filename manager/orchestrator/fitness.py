"""Whether a task may stay on its node: the node lives, is not drained, meets the constraints and is large enough."""

from __future__ import annotations

from collections.abc import Iterable

from manager.rules.current import meets_constraints
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.task import Task, TaskState


def must_move(task: Task, node: Node | None) -> bool:
    """`node` is the task's, None if it was removed. A task without a node has nothing to leave."""
    if not task.node_id:
        return False
    if node is None or node.status.state is NodeState.DOWN or node.spec.availability is Availability.DRAIN:
        return True
    return not meets_constraints(task, node)


def evicted(node: Node, tasks: Iterable[Task]) -> frozenset[str]:
    """The tasks on `node` whose reservations it cannot hold any more because it shrank; the oldest stay.

    Processors and memory count; generic resources are claimed by name and leave only with their task.
    """
    if node.description is None:
        return frozenset()
    cpus, memory = node.description.resources.nano_cpus, node.description.resources.memory_bytes
    out: set[str] = set()
    staying = [
        t
        for t in tasks
        if t.spec.resources is not None  # the others ask for nothing
        and t.desired_state <= TaskState.RUNNING
        and not t.status.state.is_final
    ]
    for task in sorted(staying, key=lambda t: (t.created_at.timestamp() if t.created_at else 0.0, t.id)):
        wanted = task.spec.resources.reservations if task.spec.resources is not None else None
        if wanted is None:
            continue
        # What a task does not reserve cannot be short for it.
        if wanted.nano_cpus > max(cpus, 0) or wanted.memory_bytes > max(memory, 0):
            out.add(task.id)
        else:
            cpus, memory = cpus - wanted.nano_cpus, memory - wanted.memory_bytes
    return frozenset(out)
