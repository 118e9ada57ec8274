"""The one place that knows all parts of a host's networking, as blocking calls of one thread.

The parts do not know each other: overlays join containers of a network, the mesh gives each container its way in
and out, and the rules inside a container balance virtual addresses. Here they are kept in step.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from netoverlay.containers.living import LivingSandbox
from netoverlay.containers.sandboxes import HostJoin, HostSegment, Join, SandboxSpec
from netoverlay.host_facts import host_facts
from netoverlay.ipsec.encryption import Encryption
from netoverlay.ipsec.plan import RingKey
from netoverlay.local.attached import Attached
from netoverlay.local.driver import BRIDGE, bridge_name
from netoverlay.mesh.mesh import HostRules
from netoverlay.netlink.surroundings import Surroundings, surroundings
from netoverlay.netns import Namespace, Namespaces
from netoverlay.overlays.data_path import Door
from netoverlay.overlays.fabric import Fabric
from netoverlay.wiring.attempts import Attempts
from swarmcore.errors import NotFound
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNetwork
from swarmcore.rpc.messages.check import HostFacts

log = logging.getLogger(__name__)
Tables = Mapping[str, NetworkTable]


class Repairs(Struct, frozen=True, kw_only=True):
    """How many differences between the kernel and the tables one look found, and mended."""

    overlays: int = 0
    mesh: int = 0
    containers: int = 0

    @property
    def total(self) -> int:
        return self.overlays + self.mesh + self.containers


class Wiring:
    """`tables` None: no manager has spoken yet, so that what an earlier daemon left stays as it is.

    `home` is a file of the host's namespace, the daemon's own if not given.
    """

    def __init__(self, directory: Path, home: Path | None = None) -> None:
        self._namespaces = Namespaces(directory, home)
        self._fabric = Fabric(self._namespaces, "ov-")
        self._mesh = HostRules(self._namespaces)
        self._door = Door(self._namespaces.home)
        self._local = Attached(self._namespaces, self._door)
        self._encryption = Encryption(self._namespaces)
        self._sandboxes: dict[str, LivingSandbox] = {}
        self._tables: Tables | None = None
        self._node_id, self._vtep = "", ""
        self.keys: tuple[RingKey, ...] = ()
        self._forwarding = False
        self._unsure: set[str] = set()  # sandboxes of an earlier daemon whose wires were not looked at yet

    def enter_from_this_thread(self) -> None:
        """The thread that makes the calls to come."""
        self._namespaces.enter_from_this_thread()

    def _forward(self) -> None:
        """From the first container on this host forwards packets; before, it is left as it is."""
        if not self._forwarding:
            self._mesh.forward_packets(self._vtep)
            self._forwarding = True

    def adopt(self, found: Mapping[str, tuple[SandboxSpec, int]]) -> list[SandboxSpec]:
        """Take up the sandboxes of an earlier daemon and remove those of nobody; returns what the host has lost."""
        lost: list[SandboxSpec] = []
        for spec, pid in found.values():
            try:
                namespace = self._namespaces.open(_name(spec))
            except NotFound:
                if not pid:
                    lost.append(spec)
                    continue
                namespace = self._namespaces.of_pid(pid)
            self._sandboxes[spec.id] = LivingSandbox(spec, namespace, adopted=True)
        kept = {_name(spec) for spec, _ in found.values()}
        for name in self._namespaces.names():
            if name.startswith("c-") and name not in kept:
                log.info("removing a namespace that no container uses", extra={"namespace": name})
                self._namespaces.remove(name)
        specs = [sandbox.spec for sandbox in self._sandboxes.values()]
        self._fabric.adopt(specs, {s.spec.id: s.namespace for s in self._sandboxes.values()})
        self._local.adopt(specs)
        if specs:
            self._forward()
            self._unsure = {spec.id for spec in specs}
        self._mesh.adopt(specs)
        return lost

    # -- sandboxes ---------------------------------------------------------------------------------
    def attach(self, spec: SandboxSpec, tables: Tables) -> Namespace:
        """The sandbox with its interfaces. Nothing of it is left if that fails."""
        if (known := self._sandboxes.get(spec.id)) is not None:
            return known.namespace
        for join in spec.joins:
            self._encryption.check(tables[join.network_id].network)
        namespace = self._namespaces.create(_name(spec))
        sandbox = self._sandboxes[spec.id] = LivingSandbox(spec, namespace)
        try:
            self._protect(tables, spec)
            for join in spec.joins:
                self._fabric.join(tables[join.network_id], join, namespace, spec.id)
            for host_join in spec.host_joins:
                self._local.join(host_join, namespace, spec.id)
            self._forward()
            self._mesh.connect(spec, namespace)
        except BaseException:
            self._take_down(sandbox)
            raise
        return namespace

    def serve(self, spec: SandboxSpec, dns_port: int) -> None:
        """Names and virtual addresses work from here on."""
        sandbox = self._sandboxes[spec.id]
        sandbox.serve(dns_port)
        self._balance(sandbox)
        sandbox.namespace.rest()

    def release(self, spec: SandboxSpec) -> None:
        if (sandbox := self._sandboxes.get(spec.id)) is not None:
            self._take_down(sandbox)
        else:
            self._namespaces.remove(_name(spec))

    def _take_down(self, sandbox: LivingSandbox) -> None:
        spec = sandbox.spec
        self._mesh.disconnect(spec.id)
        for join in spec.joins:
            self._fabric.leave(join.network_id, spec.id)
        for host_join in spec.host_joins:
            self._local.leave(host_join, spec.id)
        del self._sandboxes[spec.id]
        sandbox.namespace.close()
        self._namespaces.remove(_name(spec))

    def path(self, spec: SandboxSpec) -> str | None:
        sandbox = self._sandboxes.get(spec.id)
        return sandbox.namespace.path if sandbox is not None else None

    def _living(self, sandbox_id: str) -> LivingSandbox:
        if (sandbox := self._sandboxes.get(sandbox_id)) is None:
            raise NotFound(f"container {sandbox_id[:12]} has no network namespace on this host any more")
        return sandbox

    def spec(self, sandbox_id: str) -> SandboxSpec | None:
        sandbox = self._sandboxes.get(sandbox_id)
        return sandbox.spec if sandbox is not None else None

    def namespace(self, sandbox_id: str) -> Namespace | None:
        sandbox = self._sandboxes.get(sandbox_id)
        return sandbox.namespace if sandbox is not None else None

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        """Of the container's wire to its host: bare, IPv4 first."""
        return self._mesh.addresses(sandbox_id)

    def facts(self, network: OverlayNetwork | None) -> HostFacts:
        return host_facts(self._namespaces.home, self._vtep, network)

    @property
    def home(self) -> Namespace:
        return self._namespaces.home

    def live_connections(self, spec: SandboxSpec) -> int:
        """How many TCP connections others hold with the container; 0 where it is gone."""
        sandbox = self._sandboxes.get(spec.id)
        return sandbox.live_connections() if sandbox is not None else 0

    def ending_connections(self, spec: SandboxSpec) -> int:
        """How many of its TCP connections have ended without that the other side knows it; 0 where it is gone."""
        sandbox = self._sandboxes.get(spec.id)
        return sandbox.ending_connections() if sandbox is not None else 0

    def join(self, sandbox_id: str, join: Join, tables: Tables) -> SandboxSpec:
        """One more network of the swarm for a sandbox that lives; its spec from now on."""
        sandbox = self._living(sandbox_id)
        if all(other.network_id != join.network_id for other in sandbox.spec.joins):
            self._encryption.check(tables[join.network_id].network)
            wider = replace(sandbox.spec, joins=(*sandbox.spec.joins, join))
            self._protect(tables, wider)
            self._fabric.join(tables[join.network_id], join, sandbox.namespace, sandbox_id)
            sandbox.spec = wider
            self._balance(sandbox)
        return sandbox.spec

    def part(self, sandbox_id: str, network_id: str, mac: str) -> SandboxSpec | None:
        """Off a network of the swarm again; None where the sandbox is gone."""
        if (sandbox := self._sandboxes.get(sandbox_id)) is None:
            return None
        rest = sandbox.spec.without(network_id, mac)
        for join in sandbox.spec.joins:
            if join not in rest.joins:
                self._local.unplug(join.interface, sandbox.namespace)
                self._fabric.leave(network_id, sandbox_id)
        sandbox.spec = rest
        self._balance(sandbox)
        return sandbox.spec

    def _balance(self, sandbox: LivingSandbox) -> None:
        if self._tables is not None:
            sandbox.balance(self._tables)

    # -- this host's own networks ------------------------------------------------------------------
    def surroundings(self, segments: Iterable[HostSegment]) -> Surroundings:
        """Of the host, without what was made for these networks of its own."""
        own = {bridge_name(segment) for segment in segments if segment.driver == BRIDGE}
        return surroundings(self._namespaces.home.route, own)

    def make_segment(self, segment: HostSegment) -> None:
        self._local.ensure(segment)

    def remove_segment(self, segment: HostSegment) -> None:
        self._local.remove(segment)

    def plug(self, sandbox_id: str, join: HostJoin) -> SandboxSpec:
        """One more interface for a sandbox that lives; its spec from now on."""
        sandbox = self._living(sandbox_id)
        self._local.join(join, sandbox.namespace, sandbox_id)
        sandbox.spec = replace(sandbox.spec, host_joins=(*sandbox.spec.host_joins, join))
        return sandbox.spec

    def unplug(self, sandbox_id: str, join: HostJoin) -> SandboxSpec:
        sandbox = self._living(sandbox_id)
        self._local.unplug(join.interface, sandbox.namespace)
        self._local.leave(join, sandbox_id)
        kept = tuple(other for other in sandbox.spec.host_joins if other != join)
        sandbox.spec = replace(sandbox.spec, host_joins=kept)
        return sandbox.spec

    # -- tables ------------------------------------------------------------------------------------
    def follow(self, tables: Tables, node_id: str, vtep: str) -> None:
        """Make the kernel agree with `tables`, given that it agreed with the last ones.

        Everything is tried; then the first failure is raised.
        """
        before = self._tables or {}
        self._forget_returning(tables)
        self._tables, self._node_id, self._vtep = tables, node_id, vtep
        self._forward()
        attempts = Attempts()
        attempts(lambda: self._door.follow(tables.values()))
        attempts(lambda: self._protect(tables))
        # Peers first: whoever is named or balanced to must be reachable.
        attempts(lambda: self._fabric.follow(tables, node_id, vtep))
        attempts(lambda: self._update_mesh(tables))
        gone = _gone(before, tables)
        for sandbox in self._sandboxes.values():
            attempts(lambda sandbox=sandbox: self._renew(sandbox, gone))  # type: ignore[misc]
        self._forget_returning(tables)  # in this very update
        attempts.done()

    def _renew(self, sandbox: LivingSandbox, gone: Mapping[str, Sequence[str]]) -> None:
        if sandbox.spec.id in self._unsure:
            self._mesh.connect(sandbox.spec, sandbox.namespace)
            self._unsure.discard(sandbox.spec.id)
        self._balance(sandbox)
        sandbox.note_gone(address for network_id in sandbox.networks for address in gone.get(network_id, ()))

    def forget_some(self) -> bool:
        """Forget the flows of one container to endpoints that have gone; whether others are still to be asked. It can
        take milliseconds for each, so it is no part of `follow`, which the whole swarm may wait for."""
        waiting = [each for each in self._sandboxes.values() if each.has_flows_to_forget]
        if waiting:
            waiting[0].forget_flows()
        return len(waiting) > 1

    def _forget_returning(self, tables: Tables) -> None:
        """An address that somebody else has got must not be taken for that of its former owner later."""
        waiting = [each for each in self._sandboxes.values() if each.has_flows_to_forget]
        if not waiting:
            return
        present = {
            address
            for table in tables.values()
            for each in table.endpoints.values()
            for address in each.addresses
        }
        for sandbox in waiting:
            if sandbox.remembers(present):
                sandbox.forget_flows()

    def _protect(self, tables: Tables, coming: SandboxSpec | None = None) -> None:
        """Encrypted networks are protected before the first packet of them."""
        carried = {join.network_id for sandbox in self._sandboxes.values() for join in sandbox.spec.joins}
        if coming is not None:
            carried |= {join.network_id for join in coming.joins}
        self._encryption.follow(tables, sorted(carried), self._vtep, self.keys)

    def _update_mesh(self, tables: Tables) -> None:
        ingress = next((table for table in tables.values() if table.network.ingress), None)
        self._mesh.follow(ingress, self._node_id)

    def reconcile(self) -> Repairs:
        """Compare the kernel with what it should hold, and mend it."""
        for sandbox in self._sandboxes.values():
            sandbox.namespace.rest()
        if self._tables is None:
            return Repairs()
        attempts = Attempts()
        found = Repairs(
            overlays=attempts(self._fabric.reconcile) + attempts(self._encryption.reconcile),
            mesh=sum(attempts(part.reconcile) for part in (self._mesh, self._door, self._local)),
            containers=sum(attempts(s.rules.reconcile) for s in self._sandboxes.values() if s.rules),
        )
        attempts.done()
        return found

    def forget(self) -> None:
        """This host is in no swarm any more: nothing of one stays in its kernel."""
        for sandbox in tuple(self._sandboxes.values()):
            self._take_down(sandbox)
        self._fabric.follow({}, "", "")
        self._encryption.close(remove=True)
        self._mesh.close(remove=True)
        self._local.forget()
        self._door.remove()
        self._tables, self._forwarding = None, False

    def close(self) -> None:
        """Everything goes on without us."""
        self._encryption.close(remove=False)
        self._mesh.close(remove=False)
        self._fabric.close()
        for sandbox in self._sandboxes.values():
            sandbox.namespace.close()
        self._namespaces.close()


def _name(spec: SandboxSpec) -> str:
    return f"c-{spec.id[:12]}"


def _gone(before: Tables, now: Tables) -> dict[str, list[str]]:
    """By network, the addresses whose endpoints have left the table (not those that only drain)."""
    found: dict[str, list[str]] = {}
    for network_id, table in before.items():
        kept = now[network_id].endpoints if network_id in now else {}
        left: list[OverlayEndpoint] = [e for e in table.endpoints.values() if e.id not in kept]
        if left:
            found[network_id] = [address for endpoint in left for address in endpoint.addresses]
    return found
