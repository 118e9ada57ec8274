"""A worker's containers on the swarm's networks: endpoint tables from the session, sandboxes for the runtime."""

from __future__ import annotations

import asyncio
import logging
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from random import Random

from msgspec.structs import replace

from netoverlay.containers.sandboxes import HostJoin, HostSegment, Join, SandboxSpec
from netoverlay.dns.resolv_conf import container_text, parse, resolving
from netoverlay.host import HostNetwork
from netoverlay.ipsec.plan import RingKey
from netoverlay.netns import Namespace
from swarmcore.addresses import bare
from swarmcore.errors import NotFound, Unavailable
from swarmcore.model.cluster import EncryptionKey
from swarmcore.model.endpoint import PortConfig, Protocol
from swarmcore.model.overlay import NetworkTable, OverlayNetwork
from swarmcore.rpc.messages.check import HostFacts
from worker.networks.plan import ContainerNetwork, NetworkPlan
from worker.networks.port_choice import choose_port
from worker.networks.resolv_conf import resolv_conf
from worker.networks.spec import free_interface, host_networks, sandbox_spec

log = logging.getLogger(__name__)
# The dispatcher tells of a network before the first task on it: only a daemon that restarted has to wait.
_PATIENCE = 20.0


class Segments(typing.Protocol):
    """The networks of this host alone, and the addresses on them."""

    def of_swarm(self, network: OverlayNetwork) -> HostSegment: ...

    def make_join(
        self, segment: HostSegment, container_id: str, name: str, interface: str, wanted: Sequence[str] = ()
    ) -> HostJoin: ...

    def give_back(self, join: HostJoin, container_id: str) -> None: ...

    def adopt(self, sandboxes: Iterable[SandboxSpec], names: Mapping[str, str]) -> None: ...


class SwarmNetworking:
    """Implements the runtime's `Networking` and the agent's `Networks` on one HostNetwork.

    `host_files` reads a file of the host ("" if there is none).
    """

    def __init__(
        self, host: HostNetwork, segments: Segments, host_file: Callable[[str], str], random: Random
    ) -> None:
        self._host, self._segments = host, segments
        self._host_file, self._random = host_file, random
        self._node_id, self._vtep = "", ""
        self._tables: Mapping[str, NetworkTable] = {}
        self._told = asyncio.Condition()
        self._sandboxes: dict[str, SandboxSpec] = {}
        #: Called when a container joined or left a network, with its id and what its sandbox is now.
        self.on_change: Callable[[str, SandboxSpec], None] = lambda container_id, spec: None

    # -- the swarm's side --------------------------------------------------------------------------
    def joined(self, node_id: str, vtep: str) -> None:
        """This host is that node of a swarm; others reach its overlay traffic at `vtep`."""
        self._node_id, self._vtep = node_id, vtep

    async def left(self) -> None:
        self._node_id, self._vtep, self._tables = "", "", {}
        await self._host.forget()

    def heard(self, tables: Mapping[str, NetworkTable]) -> None:
        """What the managers say; `agree_with` comes next."""
        self._tables = tables

    def keys(self, keys: tuple[EncryptionKey, ...]) -> None:
        self._host.keys(tuple(RingKey(tag=key.lamport_time, secret=key.key) for key in keys))

    async def agree_with(self, tables: Mapping[str, NetworkTable]) -> None:
        """Return when this host agrees with `tables`."""
        self._tables = tables
        async with self._told:
            self._told.notify_all()
        await self._host.follow(tables, self._node_id, self._vtep)

    @property
    def tables(self) -> Mapping[str, NetworkTable]:
        return self._tables

    # -- the runtime's side ------------------------------------------------------------------------
    async def make_network(self, plan: NetworkPlan, container_id: str, hostname: str) -> ContainerNetwork:
        host_text = self._host_file("/etc/resolv.conf")
        host = parse(host_text)
        if plan.predefined in ("host", "none"):
            return ContainerNetwork(resolv_conf=resolv_conf(plan.dns, host_text), host=plan.is_host)
        await self._told_of({endpoint.network_id for endpoint in plan.endpoints})
        tables = self._host.tables
        spec = sandbox_spec(plan, container_id, tables, resolving(plan.dns, host), self._choose_port)
        spec = replace(spec, hostname=hostname)
        try:
            spec = self._with_host_joins(spec, plan, tables)
            self._sandboxes[spec.id] = spec
            path = await self._host.attach(spec)
        except BaseException:
            self._forget(spec)
            raise
        address = _address(spec)
        if not address:
            own = await self._host.addresses(spec.id)
            address = bare(own[0]) if own else "127.0.0.1"
        return ContainerNetwork(
            resolv_conf=container_text(plan.dns, host), path=path, address=address, sandbox=spec
        )

    def _with_host_joins(
        self, spec: SandboxSpec, plan: NetworkPlan, tables: Mapping[str, NetworkTable]
    ) -> SandboxSpec:
        """Networks of the swarm that each host makes for itself (bridge, macvlan, ipvlan)."""
        for network in host_networks(plan, tables):
            place = len(spec.joins) + len(spec.host_joins)
            try:
                segment = self._segments.of_swarm(network)
                join = self._segments.make_join(segment, spec.id, plan.name, f"eth{place}")
            except BaseException:
                self._forget(spec)  # all of them or none
                raise
            join = replace(join, antispoof=join.antispoof and network.antispoof and plan.antispoof)
            leads_out = segment.driver != "bridge" and not segment.internal and any(segment.gateways)
            spec = replace(spec, host_joins=(*spec.host_joins, join), gateway=spec.gateway and not leads_out)
        return spec

    def _forget(self, spec: SandboxSpec) -> None:
        self._sandboxes.pop(spec.id, None)
        for join in spec.host_joins:
            self._segments.give_back(join, spec.id)

    async def _told_of(self, networks: Set[str]) -> None:
        """Return when this host knows the tables of these networks."""
        try:
            async with asyncio.timeout(_PATIENCE), self._told:
                await self._told.wait_for(lambda: networks <= self._host.tables.keys())
        except TimeoutError:
            missing = ", ".join(sorted(networks - self._host.tables.keys()))
            raise Unavailable(f"no manager has told this node of network {missing}") from None

    def _choose_port(self, port: PortConfig) -> int:
        taken: set[tuple[Protocol, int]] = {
            (other.protocol, other.published_port)
            for sandbox in self._sandboxes.values()
            for other in sandbox.host_ports
        }
        return choose_port(port, taken, self._random)

    async def adopt(self, sandboxes: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        self._sandboxes = {spec.id: spec for spec, _ in sandboxes.values()}
        self._segments.adopt(self._sandboxes.values(), {})
        await self._host.adopt(sandboxes)

    # -- for containers outside of services (Plugs) ------------------------------------------------
    async def known(self, network_id: str) -> None:
        """Return when this node has been told the network's table."""
        async with self._told:
            await self._told.wait_for(lambda: network_id in self._host.tables)

    async def plug(
        self, container_id: str, network_id: str, addresses: tuple[str, ...], mac: str, name: str
    ) -> None:
        """Give a container that runs an interface on a network of the swarm. Repeatable."""
        spec = self._sandboxes.get(container_id)
        if spec is None:
            raise NotFound(f"container {name} has no network namespace of its own")
        for join in spec.joins:
            if join.network_id == network_id:
                if join.mac == mac:
                    return
                # An attachment that is ending has not let go of it yet.
                await self.unplug(container_id, network_id, join.mac)
                spec = self._sandboxes[container_id]
        join = Join(
            network_id=network_id,
            interface=free_interface(spec),
            mac=mac,
            addresses=addresses,
            antispoof=self._host.tables[network_id].network.antispoof,
        )
        if not self.changed(await self._host.join(container_id, join)):
            raise NotFound(f"container {name} has ended")

    async def unplug(self, container_id: str, network_id: str, mac: str) -> None:
        if (spec := await self._host.part(container_id, network_id, mac)) is not None:
            self.changed(spec)

    def changed(self, spec: SandboxSpec) -> bool:
        """The container is on these networks now. False where it has ended meanwhile, and all was given back."""
        if spec.id not in self._sandboxes:
            return False
        self._sandboxes[spec.id] = spec
        self.on_change(spec.id, spec)
        return True

    # -- for checks (Probing) ----------------------------------------------------------------------
    async def namespace_for(self, task_id: str) -> Namespace:
        """The namespace of this node's container of the task; the host's own for ""."""
        ids = [spec.id for spec in self._sandboxes.values() if spec.task_id == task_id] if task_id else [""]
        found = self._host.namespace(ids[0]) if ids else None
        if found is None:
            raise NotFound(f"task {task_id} has no network namespace on this node")
        return found

    async def reconcile(self) -> int:
        return await self._host.reconcile()

    async def facts(self, network_id: str) -> HostFacts:
        return await self._host.facts(network_id)

    # -- the rest of the runtime's side ------------------------------------------------------------
    async def path(self, sandbox: SandboxSpec) -> str:
        await self._told_of({join.network_id for join in sandbox.joins})
        return await self._host.path(sandbox)

    async def drain(self, sandbox: SandboxSpec, seconds: float) -> None:
        await self._host.drain(sandbox, seconds)

    async def release(self, sandbox: SandboxSpec) -> None:
        await self._host.release(self._sandboxes.get(sandbox.id, sandbox))
        # It may have joined another network meanwhile.
        self._forget(self._sandboxes.get(sandbox.id, sandbox))


def _address(spec: SandboxSpec) -> str:
    """What the container's own name means: its first address; nothing where it is on no network."""
    addresses = [address for join in spec.joins for address in join.addresses]
    addresses += [address for join in spec.host_joins for address in join.addresses]
    addresses += spec.ingress
    return bare(addresses[0]) if addresses else ""
