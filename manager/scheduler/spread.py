"""Which of the nodes that fit gets the next task: the emptiest branch of each preference, then the emptiest node.

Each spread preference splits the nodes by a label (nodes without it are a branch of their own). A task goes to the
branch with the fewest tasks of its service, and in the last branch to the node with the fewest of the service, then
the fewest of all, then the lowest id: the same state always gives the same choice. Nodes where the service keeps
failing come last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Protocol

from manager.rules.constraints import ENGINE_LABEL, NODE_LABEL
from manager.scheduler.filters import Checks, fits
from manager.scheduler.nodeset import MAX_FAILURES, NodeInfo, ServiceVersion
from swarmcore.model.task import TaskSpec

Rank = tuple[int, int, int, str]  # the smallest is the best; it ends with the node's id, so no two are equal
Book = Callable[[NodeInfo], None]


class Order:
    """How the nodes compare for the tasks of one service."""

    def __init__(self, version: ServiceVersion, checks: Checks, now: datetime) -> None:
        self.service_id = version[0]
        self._version, self._checks, self._now = version, checks, now

    def fits(self, node: NodeInfo) -> bool:
        return fits(self._checks, node)

    def rank(self, node: NodeInfo) -> Rank:
        failures = node.failures(self._version, self._now)
        trouble = failures if failures >= MAX_FAILURES else 0
        return trouble, node.active_of(self.service_id), node.active, node.node.id


class Branch(Protocol):
    """Some of the nodes. `tasks` counts the service's on all of them, also on those that do not fit."""

    tasks: int

    def best(self) -> Rank | None:
        """Of the node that comes next; None when none fits any more."""
        ...

    def book_best(self, book: Book) -> NodeInfo:
        """Choose the best node and have `book` put the task on it."""
        ...


def branch(nodes: Iterable[NodeInfo], descriptors: Sequence[str], order: Order) -> Branch:
    if not descriptors:
        return _Leaf(nodes, order)
    parts: dict[str, list[NodeInfo]] = {}
    for node in nodes:
        parts.setdefault(_label(node, descriptors[0]), []).append(node)
    return _Fork([branch(part, descriptors[1:], order) for part in parts.values()])


def spread_over(spec: TaskSpec) -> tuple[str, ...]:
    """The labels of the preferences, outermost first; others than labels have no meaning, as in Docker."""
    preferences = spec.placement.preferences if spec.placement is not None else ()
    descriptors = [preference.spread.spread_descriptor for preference in preferences if preference.spread]
    return tuple(text for text in descriptors if text.lower().startswith((NODE_LABEL, ENGINE_LABEL)))


def _label(node: NodeInfo, descriptor: str) -> str:
    if descriptor.lower().startswith(NODE_LABEL):
        return node.node.spec.labels.get(descriptor[len(NODE_LABEL) :], "")
    description = node.node.description
    return description.engine.labels.get(descriptor[len(ENGINE_LABEL) :], "") if description else ""


class _Leaf:
    def __init__(self, nodes: Iterable[NodeInfo], order: Order) -> None:
        self.tasks = 0
        self._order = order
        self._heap: list[tuple[Rank, NodeInfo]] = []
        for node in nodes:
            self.tasks += node.active_of(order.service_id)
            if order.fits(node):
                self._heap.append((order.rank(node), node))
        heapify(self._heap)

    def best(self) -> Rank | None:
        return self._heap[0][0] if self._heap else None

    def book_best(self, book: Book) -> NodeInfo:
        node = heappop(self._heap)[1]
        book(node)
        self.tasks += 1
        if self._order.fits(node):
            heappush(self._heap, (self._order.rank(node), node))
        return node


class _Fork:
    def __init__(self, branches: Sequence[Branch]) -> None:
        self.tasks = sum(part.tasks for part in branches)
        # Branches of equal load: the better node decides, else small services would all meet in the first branch.
        self._heap: list[tuple[int, Rank, Branch]] = []
        for part in branches:
            self._push(part)

    def _push(self, part: Branch) -> None:
        if (rank := part.best()) is not None:
            heappush(self._heap, (part.tasks, rank, part))

    def best(self) -> Rank | None:
        return self._heap[0][1] if self._heap else None

    def book_best(self, book: Book) -> NodeInfo:
        part = heappop(self._heap)[2]
        node = part.book_best(book)
        self.tasks += 1
        self._push(part)
        return node
