"""The endpoint tables of all networks, kept up with the store's commits.

`entries.derive` says what a table is. `EndpointTables` has the same without looking at everything again, and
remembers what changed when, so that each session is sent differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

from manager.rules.endpoint_table import (
    data_path_port,
    overlay_endpoints,
    overlay_network,
    overlay_node,
    overlay_services,
    service_entries,
)
from manager.rules.endpoint_table import ingress_network as find_ingress
from manager.store.tables import Tables
from manager.store.watch import Change
from swarmcore.aio import Turns, at_once, stretches
from swarmcore.model.cluster import Cluster
from swarmcore.model.network import Network
from swarmcore.model.node import Node, NodeState
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNetwork, OverlayNode, OverlayService
from swarmcore.model.service import Service
from swarmcore.model.task import Task

_REMEMBERED = 10_000  # changes of a network; a session that is further behind gets the whole table
Kind = Literal["network", "node", "service", "endpoint"]
I = TypeVar("I", OverlayNode, OverlayService, OverlayEndpoint)  # noqa: E741 - an entry


class TrackedTable:
    """One network's table, and the order in which its entries changed."""

    def __init__(self, network: OverlayNetwork) -> None:
        self.network = network
        self.nodes: dict[str, OverlayNode] = {}
        self.services: dict[str, OverlayService] = {}
        self.endpoints: dict[str, OverlayEndpoint] = {}
        self._on_node: Counter[str] = Counter()
        self._log: list[tuple[Kind, str]] = []
        self._start = 0

    @property
    def position(self) -> int:
        """How many changes there were."""
        return self._start + len(self._log)

    def since(self, position: int) -> list[tuple[Kind, str]] | None:
        """The kinds and ids of the entries that changed after `position`, each once; None if that is forgotten."""
        if position < self._start:
            return None
        return list(dict.fromkeys(self._log[position - self._start :]))

    def _changed(self, kind: Kind, id: str) -> None:
        self._log.append((kind, id))
        if len(self._log) > _REMEMBERED:
            half = len(self._log) // 2
            self._start += half
            del self._log[:half]

    def set_network(self, network: OverlayNetwork) -> bool:
        """Whether that is a change."""
        if network == self.network:
            return False
        self.network = network
        self._changed("network", network.id)
        return True

    def put_node(self, id: str, item: OverlayNode | None) -> bool:
        """The entry is now `item`, or gone (None). Whether that is a change; so the others."""
        return self._put("node", self.nodes, id, item)

    def put_service(self, id: str, item: OverlayService | None) -> bool:
        return self._put("service", self.services, id, item)

    def put_endpoint(self, id: str, item: OverlayEndpoint | None) -> bool:
        before = self.endpoints.get(id)
        if not self._put("endpoint", self.endpoints, id, item):
            return False
        if before is not None:
            self._on_node[before.node_id] -= 1
        if item is not None:
            self._on_node[item.node_id] += 1
        return True

    def _put(self, kind: Kind, entries: dict[str, I], id: str, item: I | None) -> bool:
        if entries.get(id) == item:
            return False
        if item is None:
            del entries[id]
        else:
            entries[id] = item
        self._changed(kind, id)
        return True

    def carried_by(self, node_id: str) -> bool:
        """Whether an endpoint is on the node."""
        return self._on_node[node_id] > 0

    def table(self, revision: int) -> NetworkTable:
        return NetworkTable(
            network=self.network,
            revision=revision,
            nodes=dict(self.nodes),
            services=dict(self.services),
            endpoints=dict(self.endpoints),
        )


class EndpointTables:
    """`reset` once, then `follow` every commit. `revision` is the index of the last one."""

    def __init__(self) -> None:
        self.tables: dict[str, TrackedTable] = {}
        self.revision = 0
        self._ingress: Network | None = None
        self._touched: set[str] = set()
        self._awaited: dict[
            str, set[str]
        ] = {}  # services and tasks by the networks that they name and that have no table

    @property
    def ingress(self) -> str:
        """The id of the ingress network, empty while there is none."""
        return self._ingress.id if self._ingress is not None else ""

    def table(self, network_id: str) -> NetworkTable | None:
        tracked = self.tables.get(network_id)
        return tracked.table(self.revision) if tracked is not None else None

    def reset(self, view: Tables, revision: int = 0) -> None:
        """Start over from the whole state: sessions send every table anew."""
        at_once(self.reset_in_turns(view, revision))

    def reset_in_turns(self, view: Tables, revision: int = 0) -> Turns[None]:
        """As `reset`, while nobody looks at the tables."""
        self.revision = revision
        self.tables, self._awaited = {}, {}
        yield from self._build(view, [network.id for network in view.networks])

    def follow(self, changes: Iterable[Change], view: Tables, revision: int) -> set[str]:
        """The ids of the networks of which something changed. `view` is the state after the changes, or a later one."""
        self.revision = revision
        self._touched = set()
        changes = list(changes)
        # What is on a network can be in the commit that makes it, and anywhere in it.
        if networks := [change.object.id for change in changes if isinstance(change.object, Network)]:
            self._networks(networks, view)
        for change in changes:
            match change.object:
                case Service() as service:
                    self._service(service.id, _networks_of(change.old), view)
                case Task() as task:
                    self._task(task.id, _networks_of(change.old), view)
                case Node() as node:
                    self._node(node.id, view, moved=_reach(change.old) != _reach(change.new))
                case Cluster():
                    self._port(view)
        return self._touched

    # -- networks ----------------------------------------------------------------------------------

    def _networks(self, network_ids: list[str], view: Tables) -> None:
        before = self.ingress
        self._ingress = find_ingress(view)
        # Services and nodes are on the ingress network in another way than on others, and were there before it.
        rebuilt = set() if self.ingress == before else {before, self.ingress} - {""}
        port = data_path_port(view)
        for network_id in network_ids:
            tracked, network = self.tables.get(network_id), view.networks.get(network_id)
            if network is None:
                rebuilt.discard(network_id)
                if tracked is not None:
                    del self.tables[network_id]
                    for id in (*tracked.services, *tracked.endpoints):
                        self._await(network_id, id)
                    self._touched.add(network_id)
            elif tracked is None:
                self._new_table(network, port, view)
            elif tracked.set_network(overlay_network(network, port)):
                self._touched.add(network_id)
        if rebuilt:
            at_once(self._build(view, sorted(id for id in rebuilt if id in view.networks)))
            self._touched |= rebuilt

    def _new_table(self, network: Network, port: int, view: Tables) -> None:
        """Without a look at everything: those that named the network before it was there are known."""
        self.tables[network.id] = TrackedTable(overlay_network(network, port))
        self._touched.add(network.id)
        for id in sorted(self._awaited.pop(network.id, ())):
            if id in view.services:
                self._service(id, (), view)
            elif id in view.tasks:
                self._task(id, (), view)

    def _await(self, network_id: str, id: str) -> None:
        self._awaited.setdefault(network_id, set()).add(id)

    def _forget(self, network_id: str, id: str) -> None:
        if (waiting := self._awaited.get(network_id)) is not None:
            waiting.discard(id)
            if not waiting:
                del self._awaited[network_id]

    def _build(self, view: Tables, network_ids: list[str]) -> Turns[None]:
        """Make these tables from the state, in one pass over it."""
        self._ingress = find_ingress(view)
        port = data_path_port(view)
        built = set(network_ids)
        for network_id in network_ids:
            network = view.networks.get(network_id)
            assert network is not None
            self.tables[network_id] = TrackedTable(overlay_network(network, port))
        for service in view.services:
            for network_id, entry in service_entries(service, self._ingress).items():
                if network_id in built:
                    self.tables[network_id].put_service(service.id, entry)
                elif network_id not in self.tables:
                    self._await(network_id, service.id)
        for tasks in stretches(view.tasks):
            for task in tasks:
                on = [attachment.network_id for attachment in task.networks_attachments]
                if any(network_id in built or network_id not in self.tables for network_id in on):
                    self._task(task.id, (), view)
            yield
        if self.ingress in built:
            for node in view.nodes:
                self.tables[self.ingress].put_node(node.id, overlay_node(node, self._ingress))

    def _port(self, view: Tables) -> None:
        port = data_path_port(view)
        for network in view.networks:
            tracked = self.tables.get(network.id)
            if tracked is not None and tracked.set_network(overlay_network(network, port)):
                self._touched.add(network.id)

    # -- what is on them ---------------------------------------------------------------------------

    def _service(self, service_id: str, before: Iterable[str], view: Tables) -> None:
        service = view.services.get(service_id)
        now = service_entries(service, self._ingress) if service is not None else {}
        for network_id in {*before, *now, self.ingress}:
            tracked = self._table_for(service_id, network_id, now)
            if tracked is not None and tracked.put_service(service_id, now.get(network_id)):
                self._touched.add(network_id)

    def _task(self, task_id: str, before: Iterable[str], view: Tables) -> None:
        task = view.tasks.get(task_id)
        node = view.nodes.get(task.node_id) if task is not None else None
        now = dict(overlay_endpoints(task, node)) if task is not None else {}
        for network_id in {*before, *now}:
            if (tracked := self._table_for(task_id, network_id, now)) is None:
                continue
            old, new = tracked.endpoints.get(task_id), now.get(network_id)
            if not tracked.put_endpoint(task_id, new):
                continue
            self._touched.add(network_id)
            if network_id != self.ingress:
                for node_id in {each.node_id for each in (old, new) if each is not None}:
                    self._carrier(network_id, tracked, node_id, view)

    def _table_for(self, id: str, network_id: str, now: Mapping[str, object]) -> TrackedTable | None:
        """The network's table; without one, whether `id` is on that network is noted for the time when there is one."""
        tracked = self.tables.get(network_id)
        if tracked is None and network_id in now:
            self._await(network_id, id)
        elif tracked is None:
            self._forget(network_id, id)
        return tracked

    def _carrier(self, network_id: str, tracked: TrackedTable, node_id: str, view: Tables) -> None:
        """A node is in the table as long as an endpoint on it is."""
        node = view.nodes.get(node_id) if tracked.carried_by(node_id) else None
        if tracked.put_node(node_id, overlay_node(node, None) if node is not None else None):
            self._touched.add(network_id)

    def _node(self, node_id: str, view: Tables, *, moved: bool) -> None:
        node = view.nodes.get(node_id)
        if (mesh := self.tables.get(self.ingress)) is not None:
            entry = overlay_node(node, self._ingress) if node is not None else None
            if mesh.put_node(node_id, entry):
                self._touched.add(self.ingress)
        if not moved:
            return
        for task in view.tasks.find("node_id", node_id):
            if task.networks_attachments:
                self._task(task.id, _networks_of(task), view)
        for network_id, tracked in self.tables.items():
            if network_id != self.ingress and (node_id in tracked.nodes or tracked.carried_by(node_id)):
                self._carrier(network_id, tracked, node_id, view)


def _networks_of(object: object) -> tuple[str, ...]:
    if isinstance(object, Task):
        return tuple(attachment.network_id for attachment in object.networks_attachments)
    if isinstance(object, Service):
        return tuple(network_id for network_id, _ in overlay_services(object))
    return ()


def _reach(node: object) -> Mapping[str, object] | None:
    """What of a node tells whether its endpoints are there, and where."""
    if not isinstance(node, Node):
        return None
    described = node.description.data_path_addr if node.description is not None else ""
    also = node.description.host_subnets if node.description is not None else ()
    return {"down": node.status.state is NodeState.DOWN, "at": described or node.status.addr, "also": also}
