"""Who holds which address of every overlay network: rebuilt from the store, then moved on by each change.

Law: an address is held by exactly the objects of the store that name it and are not over. Whatever hands one out
notes it here at once, and starts anew from the store if the write fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from manager.allocator.waiting import Waits, network_key
from manager.rules.network_plan import is_allocated, is_overlay
from manager.store.tables import Tables
from swarmcore.aio import Turns, stretches
from swarmcore.ipam import AddressSet, Subnet, parse_subnet
from swarmcore.model.base import Object
from swarmcore.model.network import Network
from swarmcore.model.node import Node
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState

log = logging.getLogger(__name__)
Held = tuple[str, str]  # network id, address (CIDR)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class SubnetUsage(Struct, frozen=True, kw_only=True):
    """`size` counts the addresses that can be given: without gateway and the user's own. `used` of them are."""

    subnet: str
    used: int
    size: int


class _Network:
    """The address sets of a network: one of each family for every VNI."""

    def __init__(self, network: Network) -> None:
        assert network.ipam_options is not None
        self.name = network.spec.name
        self.options = network.ipam_options
        sets: dict[int, list[AddressSet]] = {4: [], 6: []}
        for config in self.options.configs:
            subnet = parse_subnet(config.subnet)
            within: Subnet | None = parse_subnet(config.range) if config.range else None
            reserved = (config.gateway, *config.auxiliary_addresses.values())
            sets[subnet.version].append(AddressSet(subnet, within, reserved))
        self.sets = [*sets[4], *sets[6]]
        self._by_vni: list[tuple[AddressSet, ...]] = list(zip(*filter(None, sets.values()), strict=True))

    def with_room(self) -> Sequence[AddressSet] | None:
        """The families of the first VNI that has room in both."""
        return next((sets for sets in self._by_vni if not any(s.full for s in sets)), None)

    def covering(self, wanted: Sequence[str]) -> Sequence[AddressSet] | None:
        """The families of the VNI that can give all of these addresses."""
        for sets in self._by_vni:
            if all(any(s.covers(address) for s in sets) for address in wanted):
                return sets
        return None

    def full(self) -> str:
        return " and ".join(
            f"{s.subnet} is full: {s.used} addresses in use" for sets in self._by_vni for s in sets if s.full
        )


class Addresses:
    def __init__(self) -> None:
        self._networks: dict[str, _Network] = {}

    def load_in_turns(self, tables: Tables) -> Turns[None]:
        """Take up the state.

        Addresses of tasks that have ended come last in turn, longest ended first: see `AddressSet`.
        """
        for network in tables.networks:
            self.know(network)
        tasks = [task for task in tables.tasks if task.networks_attachments]
        yield
        over = [task for task in tasks if not holds(task)]
        for part in stretches(sorted(over, key=lambda t: t.status.timestamp or _LONG_AGO)):
            for task in part:
                for address_set, address in self._sets(_named(task)):
                    address_set.was_used(address)
            yield
        everyone: list[Object] = [*tables.nodes, *tables.services, *tasks]
        for some in stretches(sorted(everyone, key=lambda o: o.created_at or _LONG_AGO)):
            for one in some:
                self.note_change(one.id, (), held(one))
                for address_set, address in self._sets(_named(one)):
                    address_set.walk_on_from(address)
            yield

    def know(self, network: Network) -> bool:
        """Whether its subnets are news."""
        if not is_overlay(network.spec) or not is_allocated(network):
            return False
        known = self._networks.get(network.id)
        if known is not None and known.options == network.ipam_options:
            return False
        self._networks[network.id] = _Network(network)
        return True

    def forget(self, network_id: str) -> None:
        self._networks.pop(network_id, None)

    def note_change(self, holder: str, old: Iterable[Held], new: Iterable[Held]) -> set[str]:
        """What `holder` had and has. Returns the networks where an address became free."""
        before, after = set(old), set(new)
        for address_set, address in self._sets(after):
            if not address_set.reserve(address, holder):
                log.error("an address is held twice", extra={"address": address, "holder": holder})
        freed = set()
        for network_id, address in before - after:
            for address_set, _ in self._sets([(network_id, address)]):
                if address_set.release(address, holder):
                    freed.add(network_id)
        return freed

    def check_room(self, network_id: str, wanted: Sequence[str] = ()) -> None:
        """Raises Waits if nothing can be taken, or not these addresses (bare, at most one a family)."""
        network = self._networks[network_id]
        sets = network.covering(wanted) if wanted else network.with_room()
        if sets is None and wanted:
            listed = " with ".join(wanted)
            raise Waits(network_key(network_id), f"network {network.name} does not give out {listed}")
        for address_set in sets or ():
            wish = _wish(address_set, wanted)
            if wish is not None and address_set.holder(wish) is not None:
                reason = f"address {wish} is already in use on network {network.name}"
                raise Waits(network_key(network_id), reason)
            if wish is None and address_set.full:
                sets = None
        if sets is None:
            raise Waits(
                network_key(network_id),
                f"could not find an available IP on network {network.name} ({network.full()})",
            )

    def give_out(self, network_id: str, holder: str, wanted: Sequence[str] = ()) -> tuple[str, ...]:
        """One address (CIDR) of each family of the network, IPv4 first. Check for room before."""
        network = self._networks[network_id]
        sets = network.covering(wanted) if wanted else network.with_room()
        assert sets is not None, "nobody checked for room"
        taken: list[str | None] = []
        for address_set in sets:
            if (wish := _wish(address_set, wanted)) is None:
                taken.append(address_set.take(holder))
            else:
                address_set.reserve(wish, holder)
                taken.append(f"{wish}/{address_set.subnet.prefixlen}")
        return tuple(address for address in taken if address is not None)

    def holds(self, network_id: str, addresses: Sequence[str], holder: str) -> bool:
        """Whether they are all the holder's, and at least one is."""
        found = [s.holder(a) for s, a in self._sets((network_id, a) for a in addresses)]
        return bool(found) and len(found) == len(addresses) and set(found) == {holder}

    def _sets(self, named: Iterable[Held]) -> Iterable[tuple[AddressSet, str]]:
        for network_id, address in named:
            network = self._networks.get(network_id)
            for address_set in network.sets if network is not None else ():
                if address_set.covers(address):
                    yield address_set, address


def _wish(address_set: AddressSet, wanted: Iterable[str]) -> str | None:
    return next((address for address in wanted if address_set.covers(address)), None)


def holds(task: Task) -> bool:
    """Not if it has ended, nor if it never had a node and will not get one."""
    state = task.status.state
    given_up = task.desired_state > TaskState.COMPLETE and state < TaskState.ASSIGNED
    return not state.is_final and not given_up


def held(item: Object | None) -> tuple[Held, ...]:
    """The addresses that are this object's for now."""
    return () if item is None or (isinstance(item, Task) and not holds(item)) else _named(item)


def _named(item: Object) -> tuple[Held, ...]:
    match item:
        case Task():
            return tuple(
                (a.network_id, address) for a in item.networks_attachments for address in a.addresses
            )
        case Node():
            return tuple((a.network_id, address) for a in item.attachments for address in a.addresses)
        case Service():
            vips = item.endpoint.virtual_ips if item.endpoint is not None else ()
            return tuple((vip.network_id, vip.addr) for vip in vips if vip.addr)
    return ()


def usage(tables: Tables, network_id: str) -> tuple[SubnetUsage, ...]:
    """How full each subnet of a network is; nothing before it has subnets."""
    network = tables.networks.get(network_id)
    if network is None or not is_overlay(network.spec) or not is_allocated(network):
        return ()
    found = _Network(network)
    for item in [*tables.nodes, *tables.services, *tables.tasks]:
        for on, address in held(item):
            for address_set in found.sets if on == network_id else ():
                address_set.reserve(address, item.id)
    return tuple(SubnetUsage(subnet=str(s.subnet), used=s.used, size=s.size) for s in found.sets)
