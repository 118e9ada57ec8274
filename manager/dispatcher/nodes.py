"""The changes that the dispatcher makes to Node objects and, for nodes given up, to their tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from msgspec.structs import replace

from manager.dispatcher.statuses import TxChange
from manager.rules.clashes import remark
from manager.rules.reports import MAX_TEXT
from manager.store.tables import Tables
from manager.store.tx import Tx
from swarmcore.model.node import Node, NodeDescription, NodeState, NodeStatus
from swarmcore.model.task import Task, TaskState

HEARTBEAT_FAILURE = "heartbeat failure"


def ready(node_id: str, description: NodeDescription, address: str) -> TxChange:
    """The node's agent has opened a session."""

    def change(tx: Tx) -> None:
        if (node := tx.nodes.get(node_id)) is None:
            return
        told = replace(node, description=description, status=NodeStatus(addr=address))
        status = NodeStatus(state=NodeState.READY, addr=address, message=_message(told, tx))
        if node.status != status or node.description != description:
            tx.nodes.put(replace(node, status=status, description=description))

    return change


def described(node_id: str, newest: Callable[[], NodeDescription | None]) -> TxChange:
    """`newest` says what the node tells of itself now; None: nothing new."""

    def change(tx: Tx) -> None:
        node, description = tx.nodes.get(node_id), newest()
        if node is None or description is None or node.description == description:
            return
        node = replace(node, description=description)
        if node.status.state is NodeState.READY:
            node = replace(node, status=replace(node.status, message=_message(node, tx)))
        tx.nodes.put(node)

    return change


def refused(node_id: str, reason: str, holds: Callable[[], bool]) -> TxChange:
    """The node is not let in, and why: for whoever looks at it. `holds`: whether that is still so."""

    def change(tx: Tx) -> None:
        node = tx.nodes.get(node_id)
        if node is not None and holds() and node.status.message != reason:
            tx.nodes.put(replace(node, status=replace(node.status, message=reason)))

    return change


def _message(node: Node, tx: Tx) -> str:
    """What is wrong with a node that is there."""
    told = node.description.fault if node.description is not None else ""
    return "; ".join(filter(None, (told, remark(node, tx.networks))))[:MAX_TEXT]


def absent(node_id: str, state: NodeState, message: str, holds: Callable[[], bool]) -> TxChange:
    """The node is not (surely) there: UNKNOWN, DISCONNECTED or DOWN, unless `holds` says it came back."""

    def change(tx: Tx) -> None:
        node = tx.nodes.get(node_id)
        if node is None or node.status.state is state or not holds():
            return
        tx.nodes.put(replace(node, status=replace(node.status, state=state, message=message)))

    return change


def is_lost(task: Task) -> bool:
    """Not ended, and with a node that will not tell any more."""
    return TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING


def orphaned(task_id: str, node_id: str, now: datetime, message: str) -> TxChange:
    """The node was given up: its task counts as ended, whatever happens on that machine."""

    def change(tx: Tx) -> None:
        task = tx.tasks.get(task_id)
        if task is None or task.node_id != node_id or not is_lost(task):
            return
        status = replace(task.status, state=TaskState.ORPHANED, timestamp=now, message=message)
        tx.tasks.put(replace(task, status=status))

    return change


def lost_tasks(view: Tables, node_id: str) -> list[Task]:
    return [task for task in view.tasks.find("node_id", node_id) if is_lost(task)]


def told_to_agent(node: Node) -> Node:
    """The node without what the agent itself made, so that its own reports are not echoed to it.

    But for the state: by it the agent knows that every manager sees the node.
    """
    return replace(
        node,
        version=type(node.version)(),
        updated_at=None,
        description=None,
        status=NodeStatus(state=node.status.state),
        manager_status=None,
    )
