"""All overlay networks that this host carries. Blocking; for one thread.

A network is carried while a container on it lives here: its first `join` makes the namespace, its last `leave` removes
it. Nothing is kept but in the kernel: a daemon that was killed finds the namespaces again by their names.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import Struct

from netoverlay.containers.sandboxes import Join, SandboxSpec
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netns import Namespace, Namespaces
from netoverlay.overlays.fdb import vnis
from netoverlay.overlays.links import VXLAN_PREFIX, underlay_device
from netoverlay.overlays.overlay import Here, Overlay, remove_devices
from netoverlay.overlays.wires import Wire
from swarmcore.errors import FailedPrecondition, SwarmError
from swarmcore.model.overlay import NetworkTable

log = logging.getLogger(__name__)
_ID_LETTERS = 12  # of a network's id: as many as people are shown


class Carried(Struct, frozen=True, kw_only=True):
    """One network on this host, for people. `repairs` since the daemon started, `peers` addresses on other hosts."""

    namespace: str
    vnis: tuple[int, ...]
    mtu: int
    containers: int
    peers: int
    repairs: int


class Fabric:
    """`namespaces.home` is the host. Namespaces whose names begin with `prefix` are ours alone: what is in them and not
    wanted is removed."""

    def __init__(self, namespaces: Namespaces, prefix: str = "ov-") -> None:
        self._namespaces, self._prefix = namespaces, prefix
        self._node_id = self._vtep = ""
        self._mtu = 0
        self._underlay = 0  # index of the device that has the VTEP's address
        self._tables: dict[str, NetworkTable] = {}
        self._overlays: dict[str, Overlay] = {}
        # Wires of an earlier daemon, of networks whose table is not here yet.
        self._adopted: dict[str, dict[str, Wire]] = {}

    # -- the table ---------------------------------------------------------------------------------
    def follow(self, tables: Mapping[str, NetworkTable], node_id: str, vtep: str) -> None:
        """Bring all networks that are carried here to `tables`; `vtep` is this host's data path address.

        A network that is carried but not in `tables` stays as it is: its last containers are leaving. All networks
        are tried; then the first error is raised. FailedPrecondition where no device has `vtep`.
        """
        self._tables = {key: table for key, table in tables.items() if _is_overlay(table)}
        if (node_id, vtep) != (self._node_id, self._vtep):
            self._node_id, self._vtep, self._underlay = node_id, vtep, 0
        carried = (self._overlays.keys() | self._adopted.keys()) & self._tables.keys()
        if not carried:
            return
        here = self._here()
        failed: Exception | None = None
        for network_id in sorted(carried):
            try:
                self._carry(self._tables[network_id], here)
            except (OSError, SwarmError) as error:
                log.error("cannot bring up an overlay", extra={"network": network_id, "error": str(error)})
                failed = failed or error
        if failed is not None:
            raise failed

    def _carry(self, table: NetworkTable, here: Here) -> Overlay:
        network_id = table.network.id
        overlay = self._overlays.get(network_id)
        if overlay is None:
            name = self._name(network_id)
            there = name in self._namespaces.names()
            namespace = self._namespaces.open(name) if there else self._namespaces.create(name)
            overlay = self._overlays[network_id] = Overlay(
                self._namespaces.home, namespace, partial(self._evict, name)
            )
            overlay.wires |= self._adopted.pop(network_id, {})
        overlay.follow(table, here)
        return overlay

    def _here(self) -> Here:
        """Where the MTU of the underlay changes, all overlays follow."""
        if not self._vtep:
            raise FailedPrecondition(
                "this host has no data path address yet", "wait until it has joined the swarm"
            )
        route = self._namespaces.home.route
        link = route.link(self._underlay) if self._underlay else None
        if link is None:
            link = underlay_device(self._namespaces.home, self._vtep)
        if link is not None:
            self._underlay, self._mtu = link.index, link.mtu
        elif not self._mtu:
            raise FailedPrecondition(
                f"no network device of this host has the data path address {self._vtep}",
                "join the swarm with a --data-path-addr that this host has",
            )
        return Here(node_id=self._node_id, vtep=self._vtep, mtu=self._mtu)

    # -- containers --------------------------------------------------------------------------------
    def join(self, table: NetworkTable, join: Join, sandbox: Namespace, sandbox_id: str) -> None:
        """Connect the container `sandbox_id`, whose namespace is `sandbox`, to the network. Repeating it changes
        nothing. OSError or FailedPrecondition where it cannot be; then `leave` removes what was begun."""
        known = self._tables.get(table.network.id)
        if known is None or known.revision < table.revision:
            self._tables[table.network.id] = known = table
        overlay = self._overlays.get(known.network.id)
        if overlay is None or overlay.table is not known:
            try:
                overlay = self._carry(known, self._here())
            except (OSError, SwarmError):
                self._drop_if_unused(known.network.id)
                raise
        overlay.connect(sandbox_id, join, sandbox)

    def leave(self, network_id: str, sandbox_id: str) -> None:
        """The container ends. The network's namespace goes with the last one. Idempotent."""
        self._adopted.get(network_id, {}).pop(sandbox_id, None)
        if (overlay := self._overlays.get(network_id)) is not None:
            overlay.disconnect(sandbox_id)
        self._drop_if_unused(network_id)

    def _drop_if_unused(self, network_id: str) -> None:
        overlay = self._overlays.get(network_id)
        if self._adopted.get(network_id) or (overlay is not None and overlay.wires):
            return
        self._adopted.pop(network_id, None)
        if overlay is not None:
            overlay.close()
            del self._overlays[network_id]
        self._remove(self._name(network_id))

    def _remove(self, name: str) -> None:
        if name in self._namespaces.names():
            remove_devices(self._namespaces.open(name))
        self._namespaces.remove(name)

    def adopt(self, specs: Sequence[SandboxSpec], sandboxes: Mapping[str, Namespace] | None = None) -> None:
        """After a restart: `specs` are the containers that live. Namespaces that none of them needs are removed; the
        others are brought to their tables by the next `follow`. Containers among `sandboxes` can be rewired then, the
        rest once they are joined again."""
        known = sandboxes or {}
        self._adopted = {}
        for spec in specs:
            for join in spec.joins:
                if (overlay := self._overlays.get(join.network_id)) is not None:
                    held = overlay.wires
                else:
                    held = self._adopted.setdefault(join.network_id, {})
                held[spec.id] = Wire(join=join, sandbox=known.get(spec.id))
        needed = {self._name(network_id) for network_id in self._adopted.keys() | self._overlays.keys()}
        for name in self._namespaces.names():
            if name.startswith(self._prefix) and name not in needed:
                self._remove(name)
                log.info("removed an overlay that no container is on", extra={"namespace": name})

    # -- upkeep ------------------------------------------------------------------------------------
    def reconcile(self) -> int:
        """Compare the kernel with the tables and mend it; how many differences there were. One network's failure is
        logged, and tried again the next time."""
        if not self._overlays:
            return 0
        here, found = self._here(), 0
        for network_id, overlay in self._overlays.items():
            try:
                found += overlay.reconcile(here)
            except (OSError, SwarmError) as error:
                log.error("cannot repair an overlay", extra={"network": network_id, "error": str(error)})
        return found

    def networks(self) -> dict[str, Carried]:
        """What this host carries, by network id."""
        return {network_id: _carried(overlay) for network_id, overlay in self._overlays.items()}

    def close(self) -> None:
        """Let go of everything; the kernel goes on carrying the networks. The namespaces stay the caller's."""
        for overlay in self._overlays.values():
            overlay.close()
        self._overlays.clear()

    def _name(self, network_id: str) -> str:
        return self._prefix + network_id[:_ID_LETTERS]

    def _evict(self, wanting: str, vni: int) -> bool:
        """Remove the device that holds `vni`, which the namespace `wanting` needs, where it is ours by its namespace
        or its name. A network that is carried here and has the VNI rightly keeps it."""
        if _delete_vxlan(self._namespaces.home, vni, f"{VXLAN_PREFIX}{vni}"):
            return True
        held = {overlay.namespace.name: overlay for overlay in self._overlays.values()}
        for name in sorted(self._namespaces.names()):
            overlay = held.get(name)
            rightly = overlay is not None and overlay.table is not None and vni in vnis(overlay.table)
            if not name.startswith(self._prefix) or (rightly and name != wanting):
                continue
            namespace = self._namespaces.open(name)
            try:
                if _delete_vxlan(namespace, vni):
                    return True
            finally:
                if overlay is None:
                    namespace.close()
        return False


def _is_overlay(table: NetworkTable) -> bool:
    """The ingress network has no namespace: netoverlay/mesh/mesh.py carries it."""
    return not table.network.ingress


def _carried(overlay: Overlay) -> Carried:
    return Carried(
        namespace=overlay.namespace.name,
        vnis=vnis(overlay.table) if overlay.table is not None else (),
        mtu=overlay.mtu,
        containers=len(overlay.wires),
        peers=overlay.peers,
        repairs=overlay.repairs,
    )


def _delete_vxlan(namespace: Namespace, vni: int, name: str = "") -> bool:
    """Whether there was one with this VNI (and, if given, name)."""
    batch = RouteBatch()
    for link in namespace.route.links():
        if link.kind == "vxlan" and link.vni == vni and name in ("", link.name):
            batch.delete_link(link.index)
    found = len(batch) > 0
    namespace.route.commit(batch, ignore=(errno.ENODEV,))
    return found
