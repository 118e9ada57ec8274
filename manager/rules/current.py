"""Whether a task still is what its service wants: the loops replace it by this, lists show it by this."""

from __future__ import annotations

from msgspec.structs import replace

from manager.rules import constraints
from swarmcore.errors import Invalid
from swarmcore.model.endpoint import needs_new_tasks
from swarmcore.model.node import Node, NodeState
from swarmcore.model.policy import Placement
from swarmcore.model.service import Service, essence
from swarmcore.model.task import RuntimeType, Task, TaskState


def is_current(task: Task, service: Service, node: Node | None) -> bool:
    """Not dirty: it was made from this spec, or from an older one that asks for the same.

    A change of placement alone leaves a task alone whose node meets the new constraints, as in Docker.
    """
    if task.spec_version == service.spec_version:
        return True
    if task.endpoint is not None and needs_new_tasks(task.endpoint.spec, service.spec.endpoint_spec):
        return False
    if task.spec == service.spec.task_template:
        return True
    has, wanted = essence(task.spec), essence(service.spec.task_template)
    if has == wanted:
        return True
    if node is None or replace(has, placement=None) != replace(wanted, placement=None):
        return False
    old, new = has.placement or Placement(), wanted.placement or Placement()
    if replace(old, constraints=()) != replace(new, constraints=()):
        return False
    return meets_constraints(replace(task, spec=wanted), node)


def meets_constraints(task: Task, node: Node) -> bool:
    texts = task.spec.placement.constraints if task.spec.placement is not None else ()
    try:
        return constraints.match(constraints.parse(texts), node)
    except Invalid:
        return True  # the service was accepted with it once: no reason to stop what runs


def is_lost(task: Task, node: Node | None) -> bool:
    """Nobody can stop or report it: it never had a node, or the node is down or gone."""
    return not task.node_id or node is None or node.status.state is NodeState.DOWN


def is_on_network(task: Task, network_id: str) -> bool:
    """It has not ended, and it has an address there or is to get one."""
    if task.status.state.is_final:
        return False
    return any(attachment.network_id == network_id for attachment in task.networks_attachments) or any(
        wish.target == network_id for wish in task.spec.networks
    )


def holds_network(task: Task, network_id: str, node: Node | None) -> bool:
    """Its network cannot go yet. One that shall end does not count once nobody is there to tell that it has."""
    if not is_on_network(task, network_id):
        return False
    return task.desired_state <= TaskState.COMPLETE or not is_lost(task, node)


def is_attachment(task: Task) -> bool:
    """It stands for a container outside of services that is on a network of the swarm."""
    return task.spec.runtime is RuntimeType.ATTACHMENT and not task.service_id
