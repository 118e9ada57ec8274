"""The device `vxi` in the host's namespace: made, kept as the table says, compared with the kernel, removed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from ipaddress import ip_interface

from msgspec.structs import replace

from netoverlay.mesh.routes import (
    DEVICE,
    FIRST_TABLE,
    NOTHING,
    Device,
    Mesh,
    accepts_localhost,
    device,
    difference,
    mesh,
)
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Vxlan
from netoverlay.netlink.numbers import PROTOCOL, Scope
from netoverlay.netlink.records import Forwarding, Link
from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import Namespace
from netoverlay.overlays.links import overlay_mtu, underlay_device
from swarmcore.errors import FailedPrecondition
from swarmcore.model.overlay import NetworkTable

log = logging.getLogger(__name__)
#: A second deletion, or one of what went with its device, is none.
_GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL)
#: `src_valid_mark`: a client's address is valid on `vxi` because its mark leads there, whatever rp_filter and the
#: routes to the client are. `route_localnet`: 127.0.0.1 of the host reaches replicas elsewhere.
_SETTINGS: Mapping[str, int] = {
    "ipv4.conf.vxi.rp_filter": 2,
    "ipv4.conf.vxi.src_valid_mark": 1,
    "ipv4.conf.vxi.route_localnet": 1,
    "ipv4.conf.vxi.send_redirects": 0,
    "ipv6.conf.vxi.disable_ipv6": 0,
    "ipv6.conf.vxi.accept_ra": 0,
}


class IngressLink:
    """`vxi` in the host's namespace. Blocking. Takes over what an earlier daemon left."""

    def __init__(self, home: Namespace, ipv6: bool) -> None:
        self._home, self._ipv6 = home, ipv6
        self._table: NetworkTable | None = None
        self._device: Device | None = None
        self._wanted = NOTHING
        self._has: Mesh | None = None  # what the kernel has; None: not known
        self._index = 0
        self._mtu = 0

    @property
    def mtu(self) -> int:
        """Bytes of the largest packet on the ingress network; 0 where it is not known yet."""
        return self._mtu

    def follow(self, table: NetworkTable | None, node_id: str) -> None:
        """Agree with the table. FailedPrecondition where this host lacks its data path address, or somebody else
        has the VNI; NetlinkError for what the kernel refuses."""
        self._table = table
        wanted = device(table, node_id) if table else None
        self._wanted = mesh(table, node_id, self._ipv6) if table else NOTHING
        if wanted != self._device or self._has is None:
            self._device = wanted
            self._settle()
            return
        batch = difference(self._has, self._wanted, self._index)
        self._has = None
        try:
            self._home.route.commit(batch, ignore=(errno.EEXIST, *_GONE))
            self._has = self._wanted
        except NetlinkError as error:
            log.info("the ingress device is not as we left it", extra={"reason": str(error)})
            self._settle()

    def reconcile(self) -> int:
        """Compare with the kernel and repair; the number of differences. Before `follow` nothing is wanted."""
        return self._settle() if self._device is not None else 0

    def is_news(self, entry: Forwarding, gone: bool) -> bool:
        """Whether a notice about a forwarding entry says anything else than what is wanted."""
        return entry.index == self._index and ((entry.mac, entry.vtep) in self._wanted.entries) == gone

    def remove(self) -> None:
        """Nothing of ours is left."""
        self._device, self._table, self._wanted = None, None, NOTHING
        self._settle()

    def _settle(self) -> int:
        self._has = None
        found = 0
        link = self._home.route.link(DEVICE)
        if self._device is None or self._table is None:
            self._index = 0
            found = self._commit(difference(self._read(0), NOTHING, 0))
            if link is not None:
                self._delete(link)
        else:
            link, found = self._converge(link, self._device, self._table)
            self._index = link.index
            actual = self._read(link.index)
            found += self._commit(difference(actual, self._wanted, link.index))
        self._has = self._wanted
        return found

    def _commit(self, batch: RouteBatch) -> int:
        count = len(batch)
        self._home.route.commit(batch, ignore=(errno.EEXIST, *_GONE))
        return count

    def _converge(self, link: Link | None, wanted: Device, table: NetworkTable) -> tuple[Link, int]:
        """The device as it shall be, and how much it differed."""
        underlay = underlay_device(self._home, wanted.local)
        if underlay is not None:
            self._mtu = overlay_mtu(table.network, wanted.local, underlay.mtu)
        elif not self._mtu:
            raise FailedPrecondition(
                f"no network device of this host has the data path address {wanted.local}",
                "join the swarm with a --data-path-addr that this host has",
            )
        if link is not None and (link.kind, link.vni, link.local, link.port) != (
            "vxlan",
            wanted.vni,
            wanted.local,
            wanted.port,
        ):
            self._delete(link)
            link = None
        found = 0
        if link is None:
            link, found = self._make(wanted), 1
        if not link.up or link.mtu != self._mtu or link.mac != wanted.mac:
            batch = RouteBatch()
            batch.change_link(link.index, link_local=False)
            batch.change_link(link.index, mac=wanted.mac, mtu=self._mtu, up=True)
            self._home.route.commit(batch, ignore=(errno.EAFNOSUPPORT,))
            found = found or 1
        return link, found

    def _make(self, wanted: Device) -> Link:
        batch = RouteBatch()
        batch.make_link(
            Vxlan(
                DEVICE,
                wanted.vni,
                local=wanted.local,
                port=wanted.port,
                mac=wanted.mac,
                mtu=self._mtu,
                proxy=False,
            )
        )
        try:
            self._home.route.commit(batch)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise
            raise FailedPrecondition(
                f"VXLAN id {wanted.vni} of the ingress network is in use on this host by a device that is not ours",
                f'find it with "ip -d link show type vxlan" and remove it: port {wanted.port} is the swarm\'s',
            ) from error
        self._home.sysctls({f"net.{name}": value for name, value in _SETTINGS.items()})
        link = self._home.route.link(DEVICE)
        if link is None:
            raise NetlinkError(errno.ENODEV, request=f"find {DEVICE}")
        return replace(link, up=False)

    def _delete(self, link: Link) -> None:
        batch = RouteBatch()
        batch.delete_link(link.index)
        self._home.route.commit(batch, ignore=_GONE)

    def settings(self) -> Mapping[str, int]:
        """What /proc/sys/net shall say of the device, where there is one."""
        return _SETTINGS if self._device is not None else {}

    def _read(self, index: int) -> Mesh:
        """What the kernel has for the device (0: for none, only rules)."""
        route = self._home.route
        rules = frozenset(each for each in route.rules() if each.protocol == PROTOCOL)
        if not index:
            return Mesh(rules=rules)
        return Mesh(
            rules=rules,
            localhost=index in accepts_localhost(route),
            addresses=frozenset(
                str(ip_interface(f"{each.address}/{each.prefix}"))
                for each in route.addresses(index)
                if each.scope == Scope.GLOBAL
            ),
            neighbours={
                each.address: each.mac if each.permanent else ""
                for each in route.neighbours(index)
                if each.permanent or each.address in self._wanted.neighbours
            },
            entries=frozenset(
                (each.mac, each.vtep) for each in route.fdb(index) if each.permanent and each.own
            ),
            routes=frozenset(
                (each.table, each.gateway)
                for each in route.routes(0)
                if each.index == index and each.protocol == PROTOCOL and each.table >= FIRST_TABLE
            ),
        )
