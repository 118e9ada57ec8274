"""One overlay network on this host: its devices, wires and peers, brought to the endpoint table. Blocking."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from contextlib import suppress
from socket import AF_NETLINK, SOCK_RAW

from msgspec import Struct

from netoverlay.containers.antispoof import Port, PortChecks
from netoverlay.containers.sandboxes import Join
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.notices import Notices
from netoverlay.netlink.numbers import Group
from netoverlay.netlink.records import Forwarding
from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import NETLINK_ROUTE, Namespace
from netoverlay.overlays import fdb, links, wires
from netoverlay.overlays.fdb import Entry, Peers
from netoverlay.overlays.links import VXLAN_PREFIX, WIRE_PREFIX, Found, Layout, WirePort
from netoverlay.overlays.wires import Wire, wire_name
from swarmcore.model.overlay import NetworkTable

log = logging.getLogger(__name__)
_WATCHED = Group.LINKS | Group.NEIGHBOURS | Group.IPV4_ADDRESSES | Group.IPV6_ADDRESSES
_GONE = (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL)  # what was to be deleted is not there
# Without a notice the kernel is compared all the same once in so many passes.
_LOOK_ANYWAY = 30


class Here(Struct, frozen=True, kw_only=True):
    """This host: its id, its data path address, and the MTU of the device that has it."""

    node_id: str
    vtep: str
    mtu: int


class Overlay:
    """`namespace` stays the caller's to close. `evict` as in `links.converge`."""

    def __init__(self, host: Namespace, namespace: Namespace, evict: Callable[[int], bool]) -> None:
        self._host, self.namespace, self._evict = host, namespace, evict
        self.wires: dict[str, Wire] = {}
        self._leaving: set[str] = set()
        self.table: NetworkTable | None = None
        self.repairs = 0
        self._here: Here | None = None
        self._layout: Layout | None = None
        self._found: Found | None = None
        self._peers = Peers()
        self._bound: dict[str, str] = {}  # the last MAC of every address that ever was in use
        self._passes = 0
        namespace.sysctls(links.SETTINGS)
        self._checks = PortChecks(namespace, WIRE_PREFIX, exempt=VXLAN_PREFIX)
        self._notices = Notices(namespace.socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), _WATCHED)

    @property
    def mtu(self) -> int:
        return self._layout.mtu if self._layout is not None else 0

    @property
    def peers(self) -> int:
        """How many addresses of other hosts' containers this host knows the way to."""
        return len(self._peers.neighbours)

    # -- the table ---------------------------------------------------------------------------------
    def follow(self, table: NetworkTable, here: Here) -> None:
        """Bring the namespace to `table`. Only what differs from the last one is sent to the kernel, unless the
        devices change or there was none. NetlinkError or FailedPrecondition where it cannot be."""
        before, self.table = self.table, table
        known = self._here == here and before is not None and before.network == table.network
        self._here = here
        if not known or self._found is None:
            self._converge()
        elif before is not table:
            wanted = fdb.wanted_peers(table, here.node_id, here.vtep)
            try:
                self._change(wanted, self._peers)
            except NetlinkError as error:
                # Somebody took a device away, or other things we build on: look at everything.
                log.info(
                    "overlay is not as it was left", extra={"network": table.network.id, "error": str(error)}
                )
                self._converge()
        if before is not table:
            self._forget_former(table)

    def _change(self, wanted: Peers, actual: Peers) -> int:
        assert self._found is not None
        changes, batch = fdb.plan(wanted, actual), RouteBatch()
        self._peers = wanted
        if changes.differences:
            fdb.queue(changes, self._found.devices, batch)
            self.namespace.route.commit(batch, ignore=_GONE)
        return changes.differences

    def _converge(self) -> int:
        """Compare everything with the kernel and mend it; how much there was to mend."""
        assert self.table is not None and self._here is not None
        before, here = self._layout, self._here
        # Until it succeeds there is no state to build on.
        self._found = self._layout = None
        wanted = links.layout(self.table.network, here.node_id, here.vtep, here.mtu)
        names = {wire_name(sandbox_id): wire for sandbox_id, wire in self.wires.items()}
        self._notices.clear()
        checked = self._checks.reset(_port(wire, name) for name, wire in names.items())
        ports = {
            name: WirePort(mac=wire.join.mac, learning=not wire.join.antispoof)
            for name, wire in names.items()
        }
        found = links.converge(self._host, self.namespace, wanted, ports, self._evict, self._leaving)
        self._leaving.clear()
        self._layout, self._found = wanted, found
        again = names if before is not None and before.mtu != wanted.mtu else found.missing
        mended = checked + found.mended + sum(self._wire(names[name]) for name in again)
        actual = fdb.actual_peers(self.namespace.route, found.devices)
        return mended + self._change(fdb.wanted_peers(self.table, here.node_id, here.vtep), actual)

    def _forget_former(self, table: NetworkTable) -> None:
        """Containers learn who has an address and believe it for a minute, which is too long for those whose address
        somebody else has got since."""
        bound = {address: each.mac.lower() for each in table.endpoints.values() for address in each.addresses}
        others = {address for address, mac in bound.items() if self._bound.get(address, mac) != mac}
        self._bound.update(bound)
        if not others:
            return
        for wire in self.wires.values():
            if wire.sandbox is not None and not wire.sandbox.closed:
                with suppress(OSError):  # it is only a hint, and the container may be ending
                    wires.forget(wire.sandbox, wire.join, {each: bound[each] for each in others})

    # -- containers --------------------------------------------------------------------------------
    def connect(self, sandbox_id: str, join: Join, sandbox: Namespace) -> None:
        """Wire the container, or take over the wire it has."""
        self.wires[sandbox_id] = Wire(join=join, sandbox=sandbox)
        self._leaving.discard(wire_name(sandbox_id))
        self._checks.put(_port(self.wires[sandbox_id], wire_name(sandbox_id)))
        if self._found is None:
            self._converge()
        try:
            self._connect(sandbox_id, join, sandbox)
        except NetlinkError as error:
            log.info("overlay is not as it was left", extra={"network": self._id, "error": str(error)})
            self._converge()
            self._connect(sandbox_id, join, sandbox)

    def _connect(self, sandbox_id: str, join: Join, sandbox: Namespace) -> None:
        assert self._found is not None and self._layout is not None and self.table is not None
        mtu = self._layout.mtu
        wires.connect(self.namespace, self._found.bridge, mtu, wire_name(sandbox_id), join, sandbox)
        wires.configure(self.namespace, sandbox, join, mtu, wires.routes_for(self.table.network, join))

    def _wire(self, wire: Wire) -> int:
        """Make it anew; 1 if that was possible."""
        sandbox_id = next(key for key, value in self.wires.items() if value is wire)
        if wire.sandbox is None or wire.sandbox.closed:
            log.warning("container has lost its wire", extra={"network": self._id, "sandbox": sandbox_id})
            return 0
        try:
            self._connect(sandbox_id, wire.join, wire.sandbox)
        except OSError as error:
            log.warning(
                "cannot rewire a container",
                extra={"network": self._id, "sandbox": sandbox_id, "error": str(error)},
            )
            return 0
        return 1

    def disconnect(self, sandbox_id: str) -> None:
        """The wire goes with the container's namespace, which costs the kernel less than deleting it now (20 ms). What
        is still there at the next reconciliation is deleted then."""
        if self.wires.pop(sandbox_id, None) is not None:
            self._leaving.add(wire_name(sandbox_id))
            self._checks.drop(wire_name(sandbox_id))

    # -- upkeep ------------------------------------------------------------------------------------
    def reconcile(self, here: Here) -> int:
        """How many differences between kernel and table were found, and mended. Costs one system call where nobody
        but us has touched the namespace."""
        if self.table is None:
            return 0
        changed = self._here != here
        self._here = here
        self._passes += 1
        own = (self.namespace.route.port, self._host.route.port)
        touched = self._notices.touched(own, self._is_news)
        if self._found is not None and not (
            changed or touched or self._leaving or self._passes >= _LOOK_ANYWAY
        ):
            return self._mended(self._checks.reconcile())
        self._passes = 0
        return self._mended(self._converge())

    def _mended(self, differences: int) -> int:
        if differences:
            self.repairs += differences
            log.warning(
                "repaired an overlay network", extra={"network": self._id, "differences": differences}
            )
        return differences

    def _is_news(self, entry: Forwarding, gone: bool) -> bool:
        """A forwarding entry came or went otherwise than the table has it. The kernel does not say who did it."""
        devices = self._found.devices if self._found is not None else {}
        device = next((vni for vni, index in devices.items() if index == entry.index), None)
        if device is None:
            return False
        own = Entry(device, entry.mac, entry.vtep, entry.port, entry.vni, entry.via, entry.permanent)
        return (own in self._peers.entries) == gone

    @property
    def _id(self) -> str:
        return self.table.network.id if self.table is not None else self.namespace.name

    def close(self) -> None:
        """Let go; the kernel goes on carrying the network."""
        self._notices.close()


def _port(wire: Wire, name: str) -> Port:
    join = wire.join
    return Port(name=name, mac=join.mac, addresses=join.addresses, free=not join.antispoof)


def remove_devices(namespace: Namespace) -> None:
    """Delete the VXLAN devices: the kernel takes a namespace apart later, and until then their VNIs would be in use."""
    batch = RouteBatch()
    for link in namespace.route.links():
        if link.kind == "vxlan":
            batch.delete_link(link.index)
    namespace.route.commit(batch, ignore=(errno.ENODEV,))
