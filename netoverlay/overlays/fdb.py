"""Who is where on one overlay: neighbours and forwarding entries as values, and the plan from one state to another.

A container that asks for an address is answered by the VXLAN device itself out of its neighbours (address -> MAC);
the frame then goes to the host that its forwarding entries name (MAC -> VTEP). Only remote endpoints have entries:
a local one answers for itself over the bridge. Devices are named by their VNI here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from msgspec import Struct

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.route import RouteSocket
from netoverlay.netlink.wire import pack_address, unpack_address
from swarmcore.model.overlay import NetworkTable, OverlaySubnet


class Place(NamedTuple):
    """An address on a device."""

    device: int
    address: str


class Entry(NamedTuple):
    """A destination of a MAC on a device. What differs from its default was made by somebody else."""

    device: int
    mac: str
    vtep: str
    port: int = 0
    vni: int = 0
    via: int = 0
    permanent: bool = True


class Peers(Struct, frozen=True, kw_only=True):
    """`neighbours` have the MAC, empty for one that is not permanent or has none: such a one agrees with nothing."""

    neighbours: Mapping[Place, str] = {}
    entries: frozenset[Entry] = frozenset()


class Changes(Struct, frozen=True, kw_only=True):
    """What to do, in this order. Of several destinations of a MAC, a set entry replaces the first, so that no frame
    falls between two hosts; the rest is deleted after."""

    set_neighbours: tuple[tuple[Place, str], ...] = ()
    delete_neighbours: tuple[Place, ...] = ()
    set_entries: tuple[Entry, ...] = ()
    delete_entries: tuple[Entry, ...] = ()

    @property
    def differences(self) -> int:
        """A wrong entry that is replaced is one difference, not two."""
        replaced = {(entry.device, entry.mac) for entry in self.set_entries}
        extra = sum((entry.device, entry.mac) not in replaced for entry in self.delete_entries)
        return len(self.set_neighbours) + len(self.delete_neighbours) + len(self.set_entries) + extra


def plan(wanted: Peers, actual: Peers) -> Changes:
    """From `actual`, whatever that is, to `wanted`; what agrees is not touched."""
    missing = wanted.entries - actual.entries
    # An entry that is right but would expire is set again, never deleted.
    fresh = {entry._replace(permanent=False) for entry in missing}
    return Changes(
        set_neighbours=tuple(
            (place, mac) for place, mac in wanted.neighbours.items() if actual.neighbours.get(place) != mac
        ),
        delete_neighbours=tuple(place for place in actual.neighbours if place not in wanted.neighbours),
        set_entries=tuple(missing),
        delete_entries=tuple(actual.entries - wanted.entries - fresh),
    )


def wanted_peers(table: NetworkTable, node_id: str, vtep: str) -> Peers:
    """What the host `node_id` at `vtep` needs of the table. Hosts whose VTEP is of the other family than ours, or that
    are not in the table, cannot be reached: their endpoints have no entries."""
    ipv6 = ":" in vtep
    vteps = {
        node.id: _canonical(node.vtep)
        for node in table.nodes.values()
        if node.vtep and node.id != node_id and (":" in node.vtep) == ipv6
    }
    devices = vnis(table)
    device_of = _DeviceOf(table.network.subnets)
    neighbours: dict[Place, str] = {}
    by_mac: dict[str, str] = {}
    # Where two have the same address (one of them ends), the active one wins.
    for endpoint in sorted(table.endpoints.values(), key=lambda each: (each.active, each.id)):
        host = vteps.get(endpoint.node_id)
        if host is None or not endpoint.mac:
            continue
        mac = endpoint.mac.lower()
        by_mac[mac] = host
        for address in endpoint.addresses:
            if (device := device_of(address)) is not None:
                neighbours[Place(device, _canonical(address))] = mac
    # Frames of one subnet may come back by the device of another, where the bridge then learns their sender:
    # every device knows the way to everybody.
    entries = frozenset(Entry(device, mac, host) for mac, host in by_mac.items() for device in devices)
    return Peers(neighbours=neighbours, entries=entries)


def vnis(table: NetworkTable) -> tuple[int, ...]:
    """The network's devices, in the order of its subnets."""
    return tuple(dict.fromkeys(subnet.vni for subnet in table.network.subnets))


class _DeviceOf:
    """The device that carries an address: that of its subnet."""

    def __init__(self, subnets: Iterable[OverlaySubnet]) -> None:
        self._subnets = [(ip_network(each.subnet), each.vni) for each in subnets]
        only = {vni for _, vni in self._subnets}
        self._only = only.pop() if len(only) == 1 else None

    def __call__(self, address: str) -> int | None:
        if self._only is not None:
            return self._only
        parsed = ip_address(address)
        return next((vni for subnet, vni in self._subnets if parsed in subnet), None)


def _canonical(address: str) -> str:
    """As the kernel writes it."""
    return unpack_address(pack_address(address)[1]) if ":" in address else address


# -- the kernel ----------------------------------------------------------------------------------------
def queue(changes: Changes, indices: Mapping[int, int], batch: RouteBatch) -> None:
    """The requests for `changes`; `indices` are the devices' by VNI. Deleting tolerates only with ENOENT ignored."""
    for place, mac in changes.set_neighbours:
        batch.put_neighbour(indices[place.device], place.address, mac)
    for entry in changes.set_entries:
        batch.put_fdb(indices[entry.device], entry.mac, entry.vtep)
    for place in changes.delete_neighbours:
        batch.delete_neighbour(indices[place.device], place.address)
    for entry in changes.delete_entries:
        index = indices[entry.device]
        batch.delete_fdb(index, entry.mac, entry.vtep, port=entry.port, vni=entry.vni, via=entry.via)


def actual_peers(route: RouteSocket, indices: Mapping[int, int]) -> Peers:
    """What the devices have now. Multicast neighbours are the kernel's own business."""
    neighbours: dict[Place, str] = {}
    entries: set[Entry] = set()
    for device, index in indices.items():
        for neighbour in route.neighbours(index):
            if not _is_multicast(neighbour.address):
                mac = neighbour.mac if neighbour.permanent else ""
                neighbours[Place(device, neighbour.address)] = mac
        for found in route.fdb(index):
            if found.own:
                entries.add(
                    Entry(device, found.mac, found.vtep, found.port, found.vni, found.via, found.permanent)
                )
    return Peers(neighbours=neighbours, entries=frozenset(entries))


def _is_multicast(address: str) -> bool:
    if ":" in address:
        return address.startswith("ff")
    return int(address.partition(".")[0]) >= 224 or address == "0.0.0.0"
