"""Writes about nodes: availability, labels, role, removal."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from manager.control import validate
from manager.control.lookup import lookup
from manager.raft.proposer import Proposer
from manager.rules.removal import take_out
from manager.store.tx import Tx
from swarmcore.errors import FailedPrecondition, OutOfSequence
from swarmcore.model.node import Node, NodeRole, NodeState
from swarmcore.rpc.messages.control import ControlReply, RemoveNode, UpdateNode


def update(tx: Tx, request: UpdateNode, proposer: Proposer) -> ControlReply:
    node = lookup(tx.nodes, request.id, "node")
    if node.version.index != request.version:
        raise OutOfSequence(
            f"update out of sequence: node {node.id} is at version {node.version.index}, not {request.version}"
        )
    validate.node_spec(request.spec)
    if node.spec.role is NodeRole.MANAGER and request.spec.role is NodeRole.WORKER:
        _check_demotion(tx, node, proposer)
    tx.nodes.put(replace(node, spec=request.spec))  # unchanged, too: each update is a new version
    return ControlReply(id=node.id)


def _check_demotion(tx: Tx, node: Node, proposer: Proposer) -> None:
    """The last manager stays, and nobody is demoted whose loss would cost the quorum (role_manager.go)."""
    managers = [other for other in tx.nodes if other.spec.role is NodeRole.MANAGER]
    if len(managers) <= 1:
        raise FailedPrecondition(
            "attempting to demote the last manager of the swarm", "promote another node first"
        )
    status = proposer.status()
    staying = [member for member in status.members if member != node.id]
    reachable = sum(1 for member in staying if status.reachable.get(member, False))
    if node.id in status.members and staying and 2 * reachable <= len(staying):
        raise FailedPrecondition(
            f"can't remove manager {node.id} from the swarm: that would leave no reachable majority",
            "bring the unreachable managers back, or remove them first",
        )


def remove(tx: Tx, request: RemoveNode, proposer: Proposer, now: datetime) -> ControlReply:
    node = lookup(tx.nodes, request.id, "node")
    if node.id in proposer.members:
        raise FailedPrecondition(
            f"node {node.id} is a cluster manager and is a member of the raft cluster",
            "demote it to worker before removal",
        )
    if not request.force and node.status.state is NodeState.READY:
        raise FailedPrecondition(
            f"node {node.id} is not down and can't be removed", 'let it leave first, or use "--force"'
        )
    take_out(tx, node, now)
    return ControlReply(id=node.id)
