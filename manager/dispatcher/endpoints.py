"""The endpoint tables of all networks, derived from the store and kept up with its commits.

`derive` says what a table is: a pure function of the state. `EndpointTables` gives the same without looking at
everything again, and remembers what changed when, so that each session is sent differences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_interface, ip_network

from msgspec import Struct

from manager.store.tables import Tables
from manager.store.watch import Change
from swarmcore.model.cluster import Cluster
from swarmcore.model.endpoint import INGRESS_LABEL, EndpointMode, EndpointSpec
from swarmcore.model.naming import task_name
from swarmcore.model.network import MTU, VXLAN_IDS, Network
from swarmcore.model.node import Node, NodeState
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
    OverlaySubnet,
    endpoint_mac,
)
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState

DATA_PATH_PORT = 4789
_REMEMBERED = 10_000  # changes of a network; a session that is further behind gets the whole table


# -- what a table is -----------------------------------------------------------------------------------
def overlay_network(network: Network, port: int) -> OverlayNetwork:
    options = network.driver_state.options if network.driver_state is not None else {}
    given = {**network.spec.options, **options}
    configs = network.ipam_options.configs if network.ipam_options is not None else ()
    vnis = [int(text) for text in options.get(VXLAN_IDS, "").split(",") if text.strip().isdecimal()]
    places: Counter[int] = Counter()
    subnets: list[OverlaySubnet] = []
    for config in configs:
        version = ip_network(config.subnet).version
        place = places[version]
        places[version] += 1
        subnets.append(
            OverlaySubnet(
                subnet=config.subnet,
                gateway=config.gateway,
                vni=vnis[min(place, len(vnis) - 1)] if vnis else 0,
            )
        )
    mtu = given.get(MTU, "")
    return OverlayNetwork(
        id=network.id,
        name=network.spec.name,
        subnets=tuple(subnets),
        driver=network.spec.driver,
        options=dict(network.spec.options),
        config_from=network.spec.config_from.network if network.spec.config_from is not None else "",
        mtu=int(mtu) if mtu.isdecimal() else 0,
        port=port,
        internal=network.spec.internal,
        ingress=network.spec.ingress,
        encrypted=network.spec.encrypted,
    )


def overlay_services(service: Service) -> Iterator[tuple[str, OverlayService]]:
    """The service on each of its networks, by network id."""
    endpoint = service.endpoint
    vips: dict[str, list[str]] = {}
    for vip in endpoint.virtual_ips if endpoint is not None else ():
        vips.setdefault(vip.network_id, []).append(_bare(vip.addr))
    spec = service.spec.endpoint_spec or EndpointSpec()
    wishes = service.spec.task_template.networks or service.spec.networks
    aliases = {wish.target: wish.aliases for wish in wishes}
    ports = endpoint.ports if endpoint is not None else ()
    for network_id in dict.fromkeys([*aliases, *vips]):
        yield (
            network_id,
            OverlayService(
                id=service.id,
                name=service.spec.name,
                aliases=aliases.get(network_id, ()),
                mode=spec.mode if vips.get(network_id) else EndpointMode.DNSRR,
                vips=tuple(vips.get(network_id, ())),
                ports=ports,
                local_only=service.spec.labels.get(INGRESS_LABEL) == "local",
            ),
        )


def mesh_service(service: Service) -> OverlayService | None:
    """The service on the ingress network, if it publishes ports there."""
    spec = service.spec.endpoint_spec or EndpointSpec()
    if not spec.uses_ingress or service.endpoint is None:
        return None
    return OverlayService(
        id=service.id,
        name=service.spec.name,
        mode=EndpointMode.DNSRR,
        ports=service.endpoint.ports,
        local_only=service.spec.labels.get(INGRESS_LABEL) == "local",
    )


def is_active(task: Task) -> bool:
    """It gets new connections, as far as its own state goes."""
    return task.status.state is TaskState.RUNNING and task.desired_state <= TaskState.RUNNING


def has_endpoints(task: Task) -> bool:
    return bool(task.networks_attachments and task.node_id) and not task.status.state.is_final


def overlay_endpoints(task: Task, node: Node | None) -> Iterator[tuple[str, OverlayEndpoint]]:
    """The task on each of its networks. None where it has ended, or its node is down or gone."""
    if not has_endpoints(task) or node is None or node.status.state is NodeState.DOWN:
        return
    container = task.status.container_status
    hostname = task.spec.container.hostname
    # A host name with placeholders is known on its node only; its task's name says the same.
    names = [] if "{{" in hostname else [hostname]
    if container is not None and container.container_id:
        names.append(container.container_id[:12])
    for attachment in task.networks_attachments:
        if not attachment.addresses:
            continue
        own = names if task.service_id else [*names, *attachment.aliases]
        yield (
            attachment.network_id,
            OverlayEndpoint(
                id=task.id,
                node_id=task.node_id,
                name=task_name(task),
                service_id=task.service_id,
                aliases=tuple(dict.fromkeys(name for name in own if name)),
                addresses=tuple(_bare(address) for address in attachment.addresses),
                mac=endpoint_mac(task.id, attachment.network_id),
                active=is_active(task),
            ),
        )


def overlay_node(node: Node, ingress: Network | None) -> OverlayNode | None:
    """The node as a host of networks; None while it has not said where it can be reached."""
    described = node.description.data_path_addr if node.description is not None else ""
    vtep = described or node.status.addr
    if not vtep:
        return None
    if ingress is None:
        return OverlayNode(id=node.id, vtep=vtep)
    own = [a for each in node.attachments if each.network_id == ingress.id for a in each.addresses]
    if not own:
        return None
    first = ip_interface(own[0])
    number = int(first.ip) - int(first.network.network_address)
    return OverlayNode(id=node.id, vtep=vtep, addresses=tuple(_bare(a) for a in own), number=number)


def _bare(address: str) -> str:
    return address.partition("/")[0]


def data_path_port(view: Tables) -> int:
    return next((cluster.data_path_port for cluster in view.clusters), 0) or DATA_PATH_PORT


def derive(view: Tables, network_id: str) -> NetworkTable | None:
    """The table of one network, from the whole state."""
    tables = EndpointTables()
    tables.reset(view)
    return tables.table(network_id)


# -- kept up with commits ------------------------------------------------------------------------------
class Entry(Struct, frozen=True):
    """What changed: `kind` is network, node, service or endpoint."""

    kind: str
    id: str


class TrackedTable:
    """One network's table, and the order in which its entries changed."""

    def __init__(self, network: OverlayNetwork) -> None:
        self.network = network
        self.nodes: dict[str, OverlayNode] = {}
        self.services: dict[str, OverlayService] = {}
        self.endpoints: dict[str, OverlayEndpoint] = {}
        self._on_node: Counter[str] = Counter()
        self._log: list[Entry] = []
        self._start = 0

    @property
    def position(self) -> int:
        return self._start + len(self._log)

    def since(self, position: int) -> list[Entry] | None:
        """What changed after `position`, each entry once; None if that is forgotten."""
        if position < self._start:
            return None
        return list(dict.fromkeys(self._log[position - self._start :]))

    def _changed(self, kind: str, id: str) -> None:
        self._log.append(Entry(kind, id))
        if len(self._log) > _REMEMBERED:
            half = len(self._log) // 2
            self._start += half
            del self._log[:half]

    def set_network(self, network: OverlayNetwork) -> None:
        if network != self.network:
            self.network = network
            self._changed("network", network.id)

    def put(self, kind: str, id: str, item: OverlayNode | OverlayService | OverlayEndpoint | None) -> bool:
        """The entry is now `item`, or gone. Whether that is a change."""
        entries: dict[str, OverlayNode | OverlayService | OverlayEndpoint] = getattr(self, f"{kind}s")
        before = entries.get(id)
        if before == item:
            return False
        if item is None:
            del entries[id]
        else:
            entries[id] = item
        self._changed(kind, id)
        if kind == "endpoint":
            self._count(before, -1)
            self._count(item, 1)
        return True

    def _count(self, item: object, by: int) -> None:
        if isinstance(item, OverlayEndpoint):
            self._on_node[item.node_id] += by

    def carried_by(self, node_id: str) -> bool:
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

    @property
    def ingress(self) -> str:
        """The id of the ingress network, empty while there is none."""
        return self._ingress.id if self._ingress is not None else ""

    def table(self, network_id: str) -> NetworkTable | None:
        tracked = self.tables.get(network_id)
        return tracked.table(self.revision) if tracked is not None else None

    def reset(self, view: Tables, revision: int = 0) -> None:
        """Start over from the whole state; sessions compare everything then."""
        self.tables, self.revision, self._ingress = {}, revision, None
        for network in view.networks:
            self._network(None, network, view)

    def follow(self, changes: Iterable[Change], view: Tables, revision: int) -> None:
        """`view` is the state after the changes, or a later one."""
        self.revision = revision
        for change in changes:
            old, new = change.old, change.new
            match change.object:
                case Network() as network:
                    self._network(network, new if isinstance(new, Network) else None, view)
                case Service() as service:
                    self._service(service.id, _networks_of(old), view)
                case Task() as task:
                    self._task(task.id, _networks_of(old), view)
                case Node() as node:
                    self._node(node.id, view, moved=_moved(old, new))
                case Cluster():
                    self._port(view)

    def _port(self, view: Tables) -> None:
        port = data_path_port(view)
        for network in view.networks:
            if (tracked := self.tables.get(network.id)) is not None:
                tracked.set_network(overlay_network(network, port))

    def _network(self, old: Network | None, new: Network | None, view: Tables) -> None:
        current = view.networks.get((new or old).id) if (new or old) is not None else None  # type: ignore[union-attr]
        if current is None:
            if old is not None:
                self.tables.pop(old.id, None)
                if self.ingress == old.id:
                    self._ingress = None
            return
        shown = overlay_network(current, data_path_port(view))
        if (tracked := self.tables.get(current.id)) is not None:
            tracked.set_network(shown)
            if current.spec.ingress:
                self._ingress = current
            return
        self.tables[current.id] = TrackedTable(shown)
        if current.spec.ingress:
            self._ingress = current
            for node in view.nodes:
                self.tables[current.id].put("node", node.id, overlay_node(node, current))
        for service in view.services:
            self._service(service.id, (), view, only=current.id)
        for task in view.tasks:
            if any(attachment.network_id == current.id for attachment in task.networks_attachments):
                self._task(task.id, (), view)

    def _service(self, service_id: str, before: Iterable[str], view: Tables, only: str = "") -> None:
        service = view.services.get(service_id)
        now = dict(overlay_services(service)) if service is not None else {}
        if self.ingress:
            mesh = mesh_service(service) if service is not None else None
            now.pop(self.ingress, None)
            if mesh is not None:
                now[self.ingress] = mesh
        concerned = {only} if only else {*before, *now, self.ingress}
        for network_id in concerned:
            if (tracked := self.tables.get(network_id)) is not None:
                tracked.put("service", service_id, now.get(network_id))

    def _task(self, task_id: str, before: Iterable[str], view: Tables) -> None:
        task = view.tasks.get(task_id)
        node = view.nodes.get(task.node_id) if task is not None else None
        now = dict(overlay_endpoints(task, node)) if task is not None else {}
        for network_id in {*before, *now}:
            if (tracked := self.tables.get(network_id)) is None:
                continue
            old = tracked.endpoints.get(task_id)
            item = now.get(network_id)
            if tracked.put("endpoint", task_id, item) and network_id != self.ingress:
                for node_id in {each.node_id for each in (old, item) if each is not None}:
                    self._carrier(tracked, node_id, view)

    def _carrier(self, tracked: TrackedTable, node_id: str, view: Tables) -> None:
        """A node is in the table as long as an endpoint on it is."""
        node = view.nodes.get(node_id) if tracked.carried_by(node_id) else None
        tracked.put("node", node_id, overlay_node(node, None) if node is not None else None)

    def _node(self, node_id: str, view: Tables, *, moved: bool) -> None:
        node = view.nodes.get(node_id)
        if (mesh := self.tables.get(self.ingress)) is not None:
            mesh.put("node", node_id, overlay_node(node, self._ingress) if node is not None else None)
        if not moved:
            return
        for task in view.tasks.find("node_id", node_id):
            networks = [attachment.network_id for attachment in task.networks_attachments]
            if networks:
                self._task(task.id, networks, view)
        for network_id, tracked in self.tables.items():
            if network_id != self.ingress and node_id in tracked.nodes:
                self._carrier(tracked, node_id, view)


def _networks_of(old: object) -> tuple[str, ...]:
    """Where an object was before the change."""
    if isinstance(old, Task):
        return tuple(attachment.network_id for attachment in old.networks_attachments)
    if isinstance(old, Service):
        return tuple(network_id for network_id, _ in overlay_services(old))
    return ()


def _moved(old: object, new: object) -> bool:
    """Whether the node went down, came back, or changed where it is reached."""
    return _reach(old) != _reach(new)


def _reach(node: object) -> Mapping[str, object] | None:
    if not isinstance(node, Node):
        return None
    described = node.description.data_path_addr if node.description is not None else ""
    return {"down": node.status.state is NodeState.DOWN, "at": described or node.status.addr}
