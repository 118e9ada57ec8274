"""Published ports and the way out on this host: everything of the mesh that is in the kernel, behind one object.

Blocking; for one thread. Everything takes over what an earlier daemon left, applies only differences, and is compared
with the kernel by `reconcile`. Flows need no daemon.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from socket import AF_NETLINK, SOCK_RAW

from netoverlay.conntrack import forget_translated, forget_untranslated
from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.mesh.firewall import Firewall
from netoverlay.mesh.gateway import Gateways
from netoverlay.mesh.link import IngressLink
from netoverlay.mesh.parts import MeshParts
from netoverlay.mesh.ports import Ports, fresh, gone, ports
from netoverlay.mesh.rules import plans
from netoverlay.netlink.notices import Notices
from netoverlay.netlink.numbers import Group
from netoverlay.netns import NETLINK_ROUTE, Namespace, Namespaces
from netoverlay.nft.keeper import KeptTable
from netoverlay.overlays.links import underlay_device
from swarmcore.model.endpoint import Protocol
from swarmcore.model.overlay import NetworkTable

log = logging.getLogger(__name__)
_WATCHED = (
    Group.LINKS
    | Group.NEIGHBOURS
    | Group.IPV4_ADDRESSES
    | Group.IPV6_ADDRESSES
    | Group.IPV4_ROUTES
    | Group.IPV4_RULES
    | Group.IPV6_ROUTES
    | Group.IPV6_RULES
)
_SETTINGS: Mapping[str, int] = {"ipv4.ip_forward": 1, "ipv6.conf.all.forwarding": 1}
_OVERHEAD, _USUAL_MTU = 50, 1500  # what VXLAN adds; of Ethernet


class HostRules:
    """The mesh of the host `namespaces.home`.

    `forward_packets`, then `adopt` what runs already, then `follow`; rules that an earlier daemon left work on until
    the first `follow`. NetlinkError for what the kernel refuses: the next call, or `reconcile`, tries again.
    """

    def __init__(self, namespaces: Namespaces) -> None:
        self._home = home = namespaces.home
        ipv6 = Path("/proc/sys/net/ipv6").exists()
        self._link = IngressLink(home, ipv6)
        self._gateways = Gateways(home, ipv6)
        self._firewall = Firewall(home)
        self._parts = MeshParts()
        self._table: NetworkTable | None = None
        self._ports: Ports | None = None  # None: before the first update
        self._vtep = ""
        self._rules: KeptTable | None = None
        self._notices: Notices | None = None

    def forward_packets(self, vtep: str = "") -> None:
        """Let the host forward, and open other firewalls. `vtep` is its data path address, where it is known."""
        self._vtep = vtep
        if self._rules is None:
            self._rules = KeptTable(self._home.nft, plans)
            self._notices = Notices(self._home.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), _WATCHED)
        self._home.run(_keep_router_advertisements)
        self._settings()
        self._firewall.open()

    def follow(self, table: NetworkTable | None, node_id: str) -> None:
        """Agree with the ingress network's table; None where the swarm has none (any more)."""
        if self._rules is None:
            self.forward_packets()
        before, self._table = self._table, table
        known = self._ports
        own = table.nodes.get(node_id) if table is not None else None
        self._vtep = own.vtep if own is not None else self._vtep
        self._ports = ports(table, node_id)
        # Rules after addresses: nothing is led to where nothing answers yet. In the other direction nothing breaks.
        self._link.follow(table, node_id)
        self._settings()
        self._apply()
        self._forget(gone(before, table))
        if known is not None:
            self._forget_untranslated(fresh(known, self._ports))

    # -- containers --------------------------------------------------------------------------------
    def connect(self, spec: SandboxSpec, namespace: Namespace) -> None:
        """Give the container `gw0` in its `namespace`, before anything is led to it. Idempotent."""
        if self._rules is None:
            self.forward_packets()
        self._gateways.connect(spec, namespace, self._mtu())
        self._apply()
        self._forget_untranslated(
            {port.published_port for port in spec.host_ports if port.protocol is Protocol.UDP}
        )

    def disconnect(self, sandbox_id: str) -> None:
        """Nothing leads to the container any more. Its wire goes with its namespace, which the caller removes."""
        way = self._gateways.way(sandbox_id)
        addresses = frozenset(self._gateways.disconnect(sandbox_id))
        self._apply()
        # To look for flows takes the kernel milliseconds: only where a published port may have led to the container.
        if way is not None and not way.host_ports:
            addresses -= frozenset(way.outsider)
        self._forget(addresses)

    def adopt(self, specs: Sequence[SandboxSpec]) -> None:
        """After a restart: these containers are here, and no others. To be able to mend the wire of one of them when
        somebody deletes it takes another `connect`."""
        self._gateways.adopt(specs)
        self._apply()

    def addresses(self, sandbox_id: str) -> tuple[str, ...]:
        """The container's addresses on `gw0`; none where it has no such wire."""
        way = self._gateways.way(sandbox_id)
        return way.addresses if way is not None else ()

    # -- the kernel --------------------------------------------------------------------------------
    def reconcile(self) -> int:
        """Repair what is not as it was last wanted; the number of differences found. Asks the kernel three small
        questions where nobody touched anything."""
        if self._rules is None or self._notices is None:
            return 0
        found = self._firewall.reconcile() + self._settings()
        if self._notices.touched((self._home.route.port,), self._link.is_news):
            found += self._link.reconcile() + self._gateways.reconcile()
        found += self._rules.reconcile()
        if found:
            log.warning("repaired the mesh of this host", extra={"differences": found})
        return found

    def close(self, remove: bool = False) -> None:
        """Let go; what is in the kernel works on. With `remove` (the node leaves the swarm) nothing is left but what
        the administrator put into `pyswarm-user`."""
        if self._notices is not None:
            self._notices.close()
        if remove:
            self._firewall.remove()
            KeptTable(self._home.nft, plans).remove()
            self._link.remove()
            self._gateways.remove()
        self._rules = self._notices = self._ports = self._table = None

    def _apply(self) -> None:
        if self._rules is not None and self._ports is not None:
            self._rules.keep(self._parts(self._ports, self._gateways.ways))

    def _forget(self, addresses: Collection[str]) -> None:
        """UDP from one port would go to a replica that is gone for as long as it goes on; TCP learns that it ended."""
        if addresses:
            forget_translated(self._home, addresses)

    def _forget_untranslated(self, udp_ports: Collection[int]) -> None:
        if udp_ports:
            forget_untranslated(self._home, udp_ports)

    def _mtu(self) -> int:
        if self._link.mtu:
            return self._link.mtu
        underlay = underlay_device(self._home, self._vtep) if self._vtep else None
        return (underlay.mtu if underlay is not None else _USUAL_MTU) - _OVERHEAD

    def _settings(self) -> int:
        wanted = {**_SETTINGS, **self._link.settings()}
        return self._home.run(lambda: _write(wanted))


def _write(settings: Mapping[str, int]) -> int:
    """How many were different. What this kernel does not have is skipped."""
    found = 0
    for name, value in settings.items():
        path = Path("/proc/sys/net", *name.split("."))
        try:
            if path.read_text().strip() != str(value):
                path.write_text(str(value))
                found += 1
        except FileNotFoundError:
            log.debug("this kernel has no such setting", extra={"setting": name})
    return found


def _keep_router_advertisements() -> None:
    """A host that forwards stops listening to routers (linux: accept_ra 1): it would lose its own default route."""
    everything = Path("/proc/sys/net/ipv6/conf")
    if not everything.exists() or (everything / "all/forwarding").read_text().strip() != "0":
        return
    for device in everything.iterdir():
        listens = device / "accept_ra"
        if device.name in ("all", "default", "lo"):
            continue
        try:
            if listens.read_text().strip() == "1":
                listens.write_text("2")
        except FileNotFoundError:
            log.debug("a device went away", extra={"device": device.name})
