"""The nodes as the scheduler sees them: what runs where, what is free, who failed lately; kept up by commits."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator

from manager.scheduler.resources import Free, reserved_by
from swarmcore.model.node import Node
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task, TaskState

#: A node where a service failed so often within the window comes last for that service (swarmkit's figures).
FAILURES, WINDOW = 5, 300.0
_FAILED = frozenset({TaskState.FAILED, TaskState.REJECTED})
_Failing = tuple[str, int]  # service id and spec version


class NodeInfo:
    """One node and the tasks that count on it: placed there and not known to have ended."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.tasks: dict[str, Task] = {}
        self.of_service: Counter[str] = Counter()  # tasks that shall run, by service
        self.active = 0  # those of all services
        self.free = Free(_resources(node))
        self._failures: dict[_Failing, deque[float]] = {}

    def describe(self, node: Node) -> None:
        """The node has changed."""
        if _resources(node) != _resources(self.node):
            self.free = Free(_resources(node))
            for task in self.tasks.values():
                self.free.take(reserved_by(task))
        self.node = node

    def put(self, task: Task) -> None:
        """The task counts here; again with a newer state of it."""
        self.drop(task.id)
        self.tasks[task.id] = task
        self._count(task, 1)
        self.free.take(reserved_by(task))

    def drop(self, task_id: str) -> None:
        """It does not count any more; harmless if it never did."""
        if (task := self.tasks.pop(task_id, None)) is not None:
            self._count(task, -1)
            self.free.give_back(reserved_by(task))

    def _count(self, task: Task, by: int) -> None:
        if task.desired_state <= TaskState.COMPLETE:
            self.of_service[task.service_id] += by
            self.active += by

    def failed(self, task: Task, now: float) -> None:
        self._failures.setdefault(_failing(task), deque(maxlen=FAILURES)).append(now)

    def is_troubled(self, task: Task, now: float) -> bool:
        times = self._failures.get(_failing(task))
        return times is not None and len(times) == FAILURES and now - times[0] <= WINDOW


class NodeSet:
    def __init__(self) -> None:
        self._infos: dict[str, NodeInfo] = {}

    def __iter__(self) -> Iterator[NodeInfo]:
        return iter(self._infos.values())

    def __len__(self) -> int:
        return len(self._infos)

    def get(self, node_id: str) -> NodeInfo | None:
        return self._infos.get(node_id)

    def put_node(self, node: Node) -> None:
        if (info := self._infos.get(node.id)) is not None:
            info.describe(node)
        else:
            self._infos[node.id] = NodeInfo(node)

    def drop_node(self, node_id: str) -> None:
        self._infos.pop(node_id, None)

    def put_task(self, task: Task) -> None:
        """Take note of a task's state, wherever it is."""
        if (info := self._infos.get(task.node_id)) is None:
            return
        if task.status.state.is_final:
            info.drop(task.id)
        else:
            info.put(task)

    def drop_task(self, task: Task) -> None:
        if (info := self._infos.get(task.node_id)) is not None:
            info.drop(task.id)

    def note_failure(self, task: Task, now: float) -> None:
        if task.status.state in _FAILED and (info := self._infos.get(task.node_id)) is not None:
            info.failed(task, now)


def _resources(node: Node) -> Resources:
    return node.description.resources if node.description is not None else Resources()


def _failing(task: Task) -> _Failing:
    return task.service_id, task.spec_version.index if task.spec_version is not None else 0
