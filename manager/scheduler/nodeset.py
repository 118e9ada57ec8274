"""The nodes as the scheduler sees them: what runs on each and what is free, kept up to date commit by commit.

Law: a node counts every task that was assigned to it and is not seen to have ended. Of these, the ones that shall
run are its load; the others only hold their resources until they are gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from manager.scheduler.resources import NOTHING, Free
from manager.store.tables import View
from swarmcore.aio import Turns, stretches
from swarmcore.model.endpoint import Protocol, PublishMode
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task, TaskState

FAILURE_WINDOW = timedelta(minutes=5)
MAX_FAILURES = 5  # of one version of a service in the window: from then on the node comes last

HostPort = tuple[Protocol, int]
ServiceVersion = tuple[str, int]


def service_version(task: Task) -> ServiceVersion:
    return task.service_id, task.spec_version.index if task.spec_version is not None else 0


def shall_run(task: Task) -> bool:
    """COMPLETE is what jobs want; everything beyond means: end it."""
    return task.desired_state <= TaskState.COMPLETE


def waits_for_node(task: Task) -> bool:
    """The scheduler's to decide. Its node may be given (one task a node), then only the fit is in question."""
    return task.status.state is TaskState.PENDING and shall_run(task)


def takes_tasks(node: Node) -> bool:
    return node.status.state is NodeState.READY and node.spec.availability is Availability.ACTIVE


def host_ports(task: Task) -> Iterator[HostPort]:
    """The ports of its node that the task will bind."""
    for port in task.endpoint.ports if task.endpoint is not None else ():
        if port.publish_mode is PublishMode.HOST and port.published_port:
            yield port.protocol, port.published_port


class NodeInfo:
    """One node, its tasks, and the sums over them that filters and ranking ask for."""

    __slots__ = ("_by_service", "_failures", "active", "free", "node", "ports", "tasks")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tasks: dict[str, Task] = {}
        self.active = 0
        self.free = Free(_total(node))
        self.ports: Counter[HostPort] = Counter()
        self._by_service: dict[str, int] = {}
        self._failures: dict[ServiceVersion, list[datetime]] = {}

    def active_of(self, service_id: str) -> int:
        return self._by_service.get(service_id, 0)

    def describe(self, node: Node) -> None:
        resized = _total(node) != _total(self.node)
        self.node = node
        if resized:
            self.free = Free(_total(node))
            for task in self.tasks.values():
                self.free.reserve(task)

    def add(self, task: Task) -> None:
        """Count a task, in place of its former version if there is one."""
        self.remove(task.id)
        self.tasks[task.id] = task
        self._count(task, 1)
        self.free.reserve(task)

    def remove(self, task_id: str) -> None:
        if (task := self.tasks.pop(task_id, None)) is not None:
            self._count(task, -1)
            self.free.release(task)

    def _count(self, task: Task, sign: int) -> None:
        for port in host_ports(task):
            self.ports[port] += sign
        if shall_run(task):
            self.active += sign
            left = self._by_service.get(task.service_id, 0) + sign
            if left:
                self._by_service[task.service_id] = left
            else:
                del self._by_service[task.service_id]

    def failed(self, version: ServiceVersion, when: datetime) -> None:
        self._failures.setdefault(version, []).append(when)

    def failures(self, version: ServiceVersion, now: datetime) -> int:
        """How many tasks of the service's version failed here of late."""
        if version not in self._failures:
            return 0
        recent = [when for when in self._failures.pop(version) if now - when < FAILURE_WINDOW]
        if recent:
            self._failures[version] = recent
        return len(recent)


class NodeSet:
    """All nodes. The `put` and `remove` methods tell whether tasks that no node suits are to be decided again."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._where: dict[str, NodeInfo] = {}

    def load_in_turns(self, view: View, now: datetime) -> Turns[None]:
        """Take up the state."""
        self._nodes = {node.id: NodeInfo(node) for node in view.nodes}
        for part in stretches(view.tasks):
            for task in part:
                self.put_task(task, now)
                when = task.status.timestamp
                if _has_failed(task) and when is not None and (info := self._nodes.get(task.node_id)):
                    info.failed(service_version(task), when)
            yield

    def __iter__(self) -> Iterator[NodeInfo]:
        return iter(self._nodes.values())

    def get(self, node_id: str) -> NodeInfo | None:
        return self._nodes.get(node_id)

    def put_node(self, node: Node) -> bool:
        info = self._nodes.get(node.id)
        if info is None:
            self._nodes[node.id] = NodeInfo(node)
            return True
        before = info.node
        info.describe(node)
        return _traits(before) != _traits(node)

    def remove_node(self, node_id: str) -> bool:
        if (info := self._nodes.pop(node_id, None)) is None:
            return False
        for task_id in info.tasks:
            del self._where[task_id]
        return True

    def put_task(self, task: Task, now: datetime) -> bool:
        info = self._where.get(task.id)
        before = info.tasks[task.id] if info is not None else None
        if info is not None and _has_failed(task) and info.node.id == task.node_id:
            info.failed(service_version(task), now)
        if TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
            self._move(task)
            return before is not None and shall_run(before) and not shall_run(task)
        return self.remove_task(task.id)

    def _move(self, task: Task) -> None:
        old, new = self._where.get(task.id), self._nodes.get(task.node_id)
        if old is not None and old is not new:
            self.remove_task(task.id)
        if new is not None:
            new.add(task)
            self._where[task.id] = new

    def remove_task(self, task_id: str) -> bool:
        info = self._where.pop(task_id, None)
        if info is None:
            return False
        info.remove(task_id)
        return True


def _total(node: Node) -> Resources:
    return node.description.resources if node.description is not None else NOTHING


def _traits(node: Node) -> tuple[object, ...]:
    """What filters and preferences look at."""
    return node.spec, node.description, node.status, node.role


def _has_failed(task: Task) -> bool:
    return task.status.state in (TaskState.FAILED, TaskState.REJECTED)
