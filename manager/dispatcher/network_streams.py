"""What one session has been told of networks, and what it must be told next. Pure but for its own memory.

A node is told the networks that its tasks are on, and the ingress network. An update is computed when it is sent: a
slow agent gets one difference for all that happened meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from manager.dispatcher.endpoints import EndpointTables, TrackedTable
from manager.store.tables import Tables
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.messages.networks import NetworkDelta, NetworkUpdate

MAX_BYTES = 4 << 20  # of a message: a quarter of what a frame may carry
_PIECE = 2_000  # entries of a delta


def wanted_networks(view: Tables, node_id: str, ingress: str) -> set[str]:
    """The networks that the node has to carry."""
    found = {ingress} if ingress else set()
    for task in view.tasks.find("node_id", node_id):
        found.update(_carried(task, node_id))
    return found


def _carried(task: Task | None, node_id: str) -> tuple[str, ...]:
    """The networks that the node has to carry for this task."""
    if task is None or not task.networks_attachments or task.node_id != node_id:
        return ()
    if not TaskState.ASSIGNED <= task.status.state <= TaskState.RUNNING:
        return ()
    return tuple(attachment.network_id for attachment in task.networks_attachments)


class _Carried:
    """The networks of a node's tasks, counted: a node may have very many tasks, and few of them change."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._of: dict[str, tuple[str, ...]] = {}  # by task
        self._count: Counter[str] = Counter()

    def look(self, view: Tables, task_ids: Iterable[str] | None) -> None:
        """None: at all of them."""
        if task_ids is None:
            found = view.tasks.find("node_id", self._node_id)
            self._of = {task.id: carried for task in found if (carried := _carried(task, self._node_id))}
            self._count = Counter(network_id for carried in self._of.values() for network_id in carried)
            return
        for task_id in task_ids:
            self._count.subtract(self._of.pop(task_id, ()))
            if carried := _carried(view.tasks.get(task_id), self._node_id):
                self._of[task_id] = carried
                self._count.update(carried)

    def networks(self, ingress: str) -> set[str]:
        return {network_id for network_id, count in self._count.items() if count} | ({ingress} - {""})


class NetworkStream:
    """`sent` is the number of the last update, 0 before the first; `confirmed` the last that the agent has applied."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._wanted: set[str] | None = None  # None: to be found again
        self._ingress = ""  # the ingress network that is among the wanted ones
        self._carried = _Carried(node_id)
        self._dirty: set[str] | None = None  # tasks that may carry other networks; None: any
        self._positions: dict[str, tuple[TrackedTable, int]] = {}
        self._complete = False
        self.sent = 0
        self.confirmed = 0

    def tasks_changed(self, task_ids: Iterable[str] | None = None) -> None:
        """The node may have to carry other networks now, because of these tasks (None: any)."""
        self._wanted = None
        self._dirty = None if task_ids is None or self._dirty is None else self._dirty | set(task_ids)

    def concerned(self, changed: Iterable[str], tables: EndpointTables) -> bool:
        """Whether the agent has to hear of changes of these networks."""
        return self._wanted is None or any(id in self._wanted or id == tables.ingress for id in changed)

    def needed(self, network_ids: Iterable[str], tables: EndpointTables) -> int:
        """The number of the update with which the agent knows what the tables say of these networks now.

        0 if it was never told of any of them. Before the first update of a session its host goes by what an earlier one
        told it, of whatever networks.
        """
        if not self._complete:
            return 1
        held = [(id, self._positions[id]) for id in network_ids if id in self._positions]
        if not held:
            return 0
        # A table that is gone or was made anew is news, too.
        news = any(tables.tables.get(id) is not known or known.position > at for id, (known, at) in held)
        return self.sent + 1 if news else self.sent

    def updates(self, view: Tables, tables: EndpointTables) -> list[NetworkUpdate]:
        """What the agent must hear now, as the parts of one update; nothing if it knows it all."""
        if self._wanted is None or self._ingress != tables.ingress:
            self._carried.look(view, self._dirty)
            self._dirty = set()
            self._ingress = tables.ingress
            self._wanted = self._carried.networks(tables.ingress)
        wanted = self._wanted
        deltas: list[NetworkDelta] = []
        removed: list[str] = []
        for network_id in [*self._positions]:
            if network_id not in wanted or network_id not in tables.tables:
                del self._positions[network_id]
                removed.append(network_id)
        for network_id in sorted(wanted & tables.tables.keys()):
            tracked = tables.tables[network_id]
            deltas.extend(self._deltas(network_id, tracked))
            self._positions[network_id] = (tracked, tracked.position)
        full, self._complete = not self._complete, True
        if not (full or deltas or removed):
            return []
        return list(self._messages(deltas, removed, tables.revision, full))

    def _deltas(self, network_id: str, tracked: TrackedTable) -> Iterator[NetworkDelta]:
        known = self._positions.get(network_id)
        changed = tracked.since(known[1]) if known is not None and known[0] is tracked else None
        if changed is None:
            yield from _whole(tracked)
            return
        if not changed:
            return
        nodes, services, endpoints = ([id for kind, id in changed if kind == wanted] for wanted in _KINDS)
        yield NetworkDelta(
            network_id=network_id,
            network=tracked.network if any(kind == "network" for kind, _ in changed) else None,
            nodes=tuple(tracked.nodes[i] for i in nodes if i in tracked.nodes),
            services=tuple(tracked.services[i] for i in services if i in tracked.services),
            endpoints=tuple(tracked.endpoints[i] for i in endpoints if i in tracked.endpoints),
            removed_nodes=tuple(i for i in nodes if i not in tracked.nodes),
            removed_services=tuple(i for i in services if i not in tracked.services),
            removed_endpoints=tuple(i for i in endpoints if i not in tracked.endpoints),
        )

    def _messages(
        self, deltas: Sequence[NetworkDelta], removed: Sequence[str], revision: int, full: bool
    ) -> Iterator[NetworkUpdate]:
        parts = list(_chunks(deltas)) or [[]]
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            yield NetworkUpdate(
                applies_to=self.sent,
                results_in=self.sent + 1,
                revision=revision,
                full=full and place == 0,
                more=not last,
                deltas=tuple(part),
                removed_networks=tuple(removed) if last else (),
            )
            self.sent += 1


_KINDS = ("node", "service", "endpoint")


def _whole(tracked: TrackedTable) -> Iterator[NetworkDelta]:
    """All of a network, in pieces: the first one resets it."""
    endpoints = list(tracked.endpoints.values())
    first = NetworkDelta(
        network_id=tracked.network.id,
        reset=True,
        network=tracked.network,
        nodes=tuple(tracked.nodes.values()),
        services=tuple(tracked.services.values()),
    )
    yield replace(first, endpoints=tuple(endpoints[:_PIECE]))
    for start in range(_PIECE, len(endpoints), _PIECE):
        yield NetworkDelta(network_id=tracked.network.id, endpoints=tuple(endpoints[start : start + _PIECE]))


def _chunks(deltas: Sequence[NetworkDelta]) -> Iterator[list[NetworkDelta]]:
    chunk: list[NetworkDelta] = []
    size = 0
    for delta in deltas:
        length = len(msgspec.msgpack.encode(delta))
        if chunk and size + length > MAX_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(delta)
        size += length
    if chunk:
        yield chunk
