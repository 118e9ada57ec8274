"""The devices of one overlay's namespace: what it shall have, and bringing it there. Blocking.

One bridge `br0` with the gateways' addresses, one VXLAN device `vx<vni>` per IPv4 subnet, and the near ends of the
containers' wires. A VXLAN device is made in the host's namespace and born in the overlay's, so that its UDP socket
stays with the host, and the host's firewall and addresses never meet the overlay's.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection, Mapping
from hashlib import blake2b
from ipaddress import ip_network

from msgspec import Struct

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Bridge, Vxlan
from netoverlay.netlink.records import Link
from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import Namespace
from swarmcore.clock import monotonic
from swarmcore.errors import FailedPrecondition
from swarmcore.model.overlay import OverlayNetwork

log = logging.getLogger(__name__)
BRIDGE = "br0"
WIRE_PREFIX, VXLAN_PREFIX = "v", "vx"
# IP, UDP, VXLAN and the inner Ethernet header (RFC 7348).
_OVER_IPV4, _OVER_IPV6 = 50, 70
# ESP in transport mode with AES-GCM (RFC 4303, RFC 4106): header and IV of 8 each, trailer 2, check value 16. No
# padding where the inner packet's length is a multiple of 4.
_ESP = 34
_VNI_PATIENCE, _VNI_PAUSE = 2.0, 0.005  # seconds: the kernel takes namespaces apart in its own time
#: Settings of an overlay's namespace, made before its devices, which take the defaults over.
SETTINGS: Mapping[str, int] = {
    # Frames between containers are none of the host's iptables' business, whatever Docker set for new namespaces.
    "net.bridge.bridge-nf-call-iptables": 0,
    "net.bridge.bridge-nf-call-ip6tables": 0,
    "net.bridge.bridge-nf-call-arptables": 0,
    # Devices that carry frames say nothing of their own: no link-local addresses.
    "net.ipv6.conf.default.addr_gen_mode": 1,
    "net.ipv6.conf.default.accept_ra": 0,
}


class Layout(Struct, frozen=True, kw_only=True):
    """What the namespace shall have. `vnis` in the order of subnets, `gateways` in CIDR; `local` is our VTEP."""

    mac: str
    mtu: int
    gateways: tuple[str, ...]
    vnis: tuple[int, ...]
    local: str
    port: int


class WirePort(Struct, frozen=True, kw_only=True):
    """The near end of a container's wire as a port of the bridge: whose MAC is behind it, and whether the bridge
    learns of others there."""

    mac: str
    learning: bool = False


class Found(Struct, frozen=True, kw_only=True):
    """Its devices now: index of the bridge, those of VXLAN devices by VNI, wires that are missing, what was mended."""

    bridge: int
    devices: Mapping[int, int]
    missing: frozenset[str]
    mended: int


def layout(network: OverlayNetwork, node_id: str, vtep: str, underlay_mtu: int) -> Layout:
    """Pure. The bridge's MAC differs from host to host: its frames may meet on the wire."""
    digest = blake2b(f"{network.id}/{node_id}".encode(), digest_size=5).digest()
    return Layout(
        mac="06:" + digest.hex(":"),
        mtu=overlay_mtu(network, vtep, underlay_mtu),
        gateways=tuple(
            f"{each.gateway}/{ip_network(each.subnet).prefixlen}" for each in network.subnets if each.gateway
        ),
        vnis=tuple(dict.fromkeys(each.vni for each in network.subnets)),
        local=vtep,
        port=network.port,
    )


def overlay_mtu(network: OverlayNetwork, vtep: str, underlay_mtu: int) -> int:
    """Bytes of the largest packet in the overlay: the user's, or what fits into one of the underlay."""
    if network.mtu:
        return network.mtu
    mtu = underlay_mtu - (_OVER_IPV6 if ":" in vtep else _OVER_IPV4)
    if network.encrypted:
        mtu -= _ESP
        mtu -= mtu % 4
    return mtu


def underlay_device(host: Namespace, vtep: str) -> Link | None:
    """The device that has the host's data path address, None where none has it."""
    found = next((each for each in host.route.addresses() if each.address == vtep), None)
    return host.route.link(found.index) if found is not None else None


def converge(
    host: Namespace,
    namespace: Namespace,
    wanted: Layout,
    wires: Mapping[str, WirePort],
    evict: Callable[[int], bool],
    leaving: Collection[str] = (),
    clock: Callable[[], float] = monotonic,
) -> Found:
    """Bring the devices to `wanted`; those that agree are not touched.

    `wires` are the near ends that shall be there, by name; those that are not, the caller makes. What is `leaving`
    may be there or not. `evict(vni)` removes another device of ours that holds the VNI, and says whether it found
    one. FailedPrecondition where somebody else holds it, NetlinkError for what the kernel refuses.
    """
    return _Convergence(host, namespace, wanted, evict, clock).run(wires, leaving)


class _Convergence:
    def __init__(
        self,
        host: Namespace,
        namespace: Namespace,
        wanted: Layout,
        evict: Callable[[int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._host, self._namespace, self._wanted, self._evict = host, namespace, wanted, evict
        self._clock = clock
        self._links = {link.name: link for link in namespace.route.links()}
        self._mended = 0

    def run(self, wires: Mapping[str, WirePort], leaving: Collection[str]) -> Found:
        bridge = self._bridge()
        self._gateways(bridge)
        devices = {vni: self._vxlan(vni, bridge, first) for first, vni in self._in_order()}
        missing = self._wires(wires, bridge)
        self._remove_strangers({*wires, *leaving}, leaving)
        return Found(bridge=bridge, devices=devices, missing=missing, mended=self._mended)

    def _in_order(self) -> list[tuple[bool, int]]:
        return [(place == 0, vni) for place, vni in enumerate(self._wanted.vnis)]

    def _commit(self, batch: RouteBatch, ignore: Collection[int] = ()) -> None:
        if len(batch):
            self._mended += 1
            self._namespace.route.commit(batch, ignore)

    def _index(self, name: str) -> int:
        link = self._namespace.route.link(name)
        if link is None:
            raise NetlinkError(errno.ENODEV, request=f"find {name}")
        return link.index

    def _bridge(self) -> int:
        wanted, link, batch = self._wanted, self._links.get(BRIDGE), RouteBatch()
        if link is not None and link.kind != "bridge":
            batch.delete_link(link.index)
            link = None
        if link is None:
            batch.make_link(Bridge(BRIDGE, mtu=wanted.mtu, mac=wanted.mac))
            self._commit(batch)
            return self._index(BRIDGE)
        if (link.mtu, link.mac, link.up) != (wanted.mtu, wanted.mac, True):
            mac = wanted.mac if link.mac != wanted.mac else ""
            batch.change_link(link.index, up=True, mtu=wanted.mtu, mac=mac)
        self._commit(batch)
        return link.index

    def _gateways(self, bridge: int) -> None:
        batch = RouteBatch()
        found = {f"{each.address}/{each.prefix}" for each in self._namespace.route.addresses(bridge)}
        wanted = set(self._wanted.gateways)
        for cidr in found - wanted:
            batch.delete_address(bridge, cidr)
        for cidr in wanted - found:
            batch.put_address(bridge, cidr)
        self._commit(batch)

    def _vxlan(self, vni: int, bridge: int, first: bool) -> int:
        name = f"{VXLAN_PREFIX}{vni}"
        link = self._links.get(name)
        if link is not None and not self._is_right(link, vni):
            batch = RouteBatch()
            batch.delete_link(link.index)
            self._namespace.route.commit(batch)
            link = None
        if link is None:
            self._mended += 1
            self._make_vxlan(name, vni)
            link = self._namespace.route.link(name)
            if link is None:
                raise NetlinkError(errno.ENODEV, request=f"find {name}")
            batch = RouteBatch()
            batch.change_link(link.index, master=bridge, up=True)
            batch.change_port(
                link.index, learning=False, flooding=first
            )  # or unknown frames leave once per subnet
            self._namespace.route.commit(batch)
            return link.index
        batch = RouteBatch()
        if (link.mtu, link.master, link.up) != (self._wanted.mtu, bridge, True):
            batch.change_link(link.index, master=bridge, up=True, mtu=self._wanted.mtu)
        if link.master != bridge or link.port_learning or link.flooding != first:
            batch.change_port(link.index, learning=False, flooding=first)
        self._commit(batch)
        return link.index

    def _is_right(self, link: Link, vni: int) -> bool:
        """What cannot be changed in a living device."""
        return (
            link.kind == "vxlan"
            and (link.vni, link.local, link.port) == (vni, self._wanted.local, self._wanted.port)
            and link.proxy
            and not link.learning
            and link.peer_elsewhere
        )

    def _make_vxlan(self, name: str, vni: int) -> None:
        wanted, deadline = self._wanted, self._clock() + _VNI_PATIENCE
        while True:
            batch = RouteBatch()
            batch.make_link(
                Vxlan(
                    name,
                    vni,
                    local=wanted.local,
                    port=wanted.port,
                    mtu=wanted.mtu,
                    netns_fd=self._namespace.fd,
                )
            )
            try:
                self._host.route.commit(batch)
                return
            except NetlinkError as error:
                if error.errno != errno.EEXIST:
                    raise
            # A daemon that was killed left it, or its namespace is about to be taken apart by the kernel.
            if self._evict(vni):
                log.info("removed a VXLAN device that was left over", extra={"vni": vni})
            elif self._clock() > deadline:
                raise FailedPrecondition(
                    f"VXLAN id {vni} on UDP port {wanted.port} is in use by another program of this host",
                    "find it with: ip -d link show type vxlan (in the host's and Docker's namespaces)",
                )
            else:
                time.sleep(_VNI_PAUSE)

    def _wires(self, wires: Mapping[str, WirePort], bridge: int) -> frozenset[str]:
        missing: set[str] = set()
        entries = {(each.index, each.mac) for each in self._namespace.route.fdb() if each.sticky}
        for name, wanted in wires.items():
            link, batch = self._links.get(name), RouteBatch()
            if link is None or link.kind != "veth":
                missing.add(name)
                continue
            moved = link.master != bridge
            if moved or (link.mtu, link.up) != (self._wanted.mtu, True):
                batch.change_link(link.index, master=bridge, up=True, mtu=self._wanted.mtu)
            if moved or link.port_learning != wanted.learning or link.flooding:
                batch.change_port(link.index, learning=wanted.learning, flooding=False)
            if moved or (link.index, wanted.mac.lower()) not in entries:
                batch.put_port_fdb(link.index, wanted.mac)
            self._commit(batch, ignore=(errno.ENODEV,))  # its container may be ending right now
        return frozenset(missing)

    def _remove_strangers(self, known: Collection[str], leaving: Collection[str]) -> None:
        """Devices that are named like ours but that nobody wants. Other foreign ones are an administrator's."""
        wanted = {BRIDGE, *known, *(f"{VXLAN_PREFIX}{vni}" for vni in self._wanted.vnis)}
        batch = RouteBatch()
        for link in self._links.values():
            if (
                link.kind in ("veth", "vxlan")
                and link.name.startswith(WIRE_PREFIX)
                and link.name not in wanted
            ):
                batch.delete_link(link.index)
        self._commit(batch, ignore=(errno.ENODEV,))
        gone = RouteBatch()
        for name in leaving:
            if (stale := self._links.get(name)) is not None:
                gone.delete_link(stale.index)
        self._namespace.route.commit(gone, ignore=(errno.ENODEV,))
