"""Whether a task may stay on its node: the node lives, is not drained, and still meets the constraints."""

from __future__ import annotations

from manager import constraints
from swarmcore.errors import Invalid
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.task import Task


def must_move(task: Task, node: Node | None) -> bool:
    """`node` is the task's, None if it was removed. A task without a node has nothing to leave."""
    if not task.node_id:
        return False
    if node is None or node.status.state is NodeState.DOWN or node.spec.availability is Availability.DRAIN:
        return True
    return not meets_constraints(task, node)


def meets_constraints(task: Task, node: Node) -> bool:
    texts = task.spec.placement.constraints if task.spec.placement is not None else ()
    try:
        return constraints.match(constraints.parse(texts), node)
    except Invalid:
        return True  # the service was accepted with it once: no reason to stop what runs


def is_lost(task: Task, node: Node | None) -> bool:
    """Nobody can stop or report it: it never had a node, or the node is down or gone."""
    return not task.node_id or node is None or node.status.state is NodeState.DOWN
