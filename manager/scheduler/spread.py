"""Where the next task goes: even over the branches of the spread preferences, then over nodes, then least work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from manager.constraints import ENGINE_LABEL, NODE_LABEL
from manager.scheduler.nodeset import NodeInfo
from swarmcore.model.node import Node
from swarmcore.model.task import Task

Rank = tuple[bool, int, int, str]


class Spread:
    """Chooses among `candidates` for tasks of one spec; counts change as tasks are put on nodes."""

    def __init__(self, task: Task, candidates: Iterable[NodeInfo], now: float) -> None:
        self._service = task.service_id
        self._root = _Branch(list(candidates), _descriptors(task), task.service_id)
        self._troubled: Callable[[NodeInfo], bool] = lambda info: info.is_troubled(task, now)

    def choose(self, accept: Callable[[NodeInfo], bool]) -> NodeInfo | None:
        """The best node that still accepts the task; None when there is none left."""
        return self._best(self._root, accept)

    def _best(self, branch: _Branch, accept: Callable[[NodeInfo], bool]) -> NodeInfo | None:
        if branch.children:
            for child in sorted(branch.children, key=_Branch.load):
                if (found := self._best(child, accept)) is not None:
                    return found
            return None
        return min((info for info in branch.nodes if accept(info)), key=self._rank, default=None)

    def _rank(self, info: NodeInfo) -> Rank:
        return self._troubled(info), info.of_service[self._service], info.active, info.node.id


class _Branch:
    """A node of the preference tree: nodes with the same value, divided by the next preference."""

    def __init__(self, nodes: Sequence[NodeInfo], descriptors: Sequence[str], service: str) -> None:
        self.nodes = nodes
        self._service = service
        self.children: list[_Branch] = []
        if descriptors:
            groups: dict[str, list[NodeInfo]] = {}
            for info in nodes:
                groups.setdefault(_value(descriptors[0], info.node), []).append(info)
            self.children = [_Branch(groups[value], descriptors[1:], service) for value in sorted(groups)]

    def load(self) -> int:
        return sum(info.of_service[self._service] for info in self.nodes)


def _descriptors(task: Task) -> tuple[str, ...]:
    preferences = task.spec.placement.preferences if task.spec.placement is not None else ()
    found = [p.spread.spread_descriptor for p in preferences if p.spread is not None]
    # Others than labels are ignored, as in Docker.
    return tuple(d for d in found if d.lower().startswith((NODE_LABEL, ENGINE_LABEL)))


def _value(descriptor: str, node: Node) -> str:
    """A node without the label is in a branch of its own, with all others that lack it."""
    if descriptor.lower().startswith(NODE_LABEL):
        return node.spec.labels.get(descriptor[len(NODE_LABEL) :], "")
    labels = node.description.engine.labels if node.description is not None else {}
    return labels.get(descriptor[len(ENGINE_LABEL) :], "")
