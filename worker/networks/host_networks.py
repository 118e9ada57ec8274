"""The user-defined networks of this host: kept on disk, given subnets that nobody else uses, and their addresses.

Docker's pools for such networks, the same refusals. Containers' addresses are not kept here: they stand in the
containers' own records and are taken again when a daemon starts.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec.structs import replace

from netoverlay.containers.sandboxes import HostJoin, HostSegment, SandboxSpec
from swarmcore.aio import to_the_end
from swarmcore.clock import Clock
from swarmcore.errors import Conflict, FailedPrecondition, Invalid, NotFound, clipped
from swarmcore.files import write_atomically
from swarmcore.ipam import AddressSet, Subnet, first_address, free_subnet, overlap, parse_subnet
from swarmcore.model.network import IPAMConfig, check_antispoof, is_antispoof
from swarmcore.model.overlay import OverlayNetwork, endpoint_mac
from swarmcore.model.pool import checked_pool
from worker.networks.host_addresses import address_sets, given, wishes_of
from worker.networks.local_networks import AddressPool, ConnectedContainer, LocalNetwork, NetworkRequest

log = logging.getLogger(__name__)
# Docker's default-address-pools: (range, prefix length of each network).
POOLS = (*((f"172.{second}.0.0/16", 16) for second in range(18, 32)), ("192.168.0.0/16", 20))
MAX_POOLS = 256
_LONGEST_NAME = 255  # characters
DRIVERS = ("bridge", "macvlan", "ipvlan")


class Devices(Protocol):
    """What of `netoverlay.host.HostNetwork` is needed here."""

    async def make_segment(self, segment: HostSegment) -> None: ...

    async def remove_segment(self, segment: HostSegment) -> None: ...


class HostNetworks:
    """`taken` lists the subnets (CIDR) that this host and its swarm use already, `routes` those that it knows the way
    to: none of them is chosen, but a user may."""

    def __init__(
        self,
        file: Path,
        devices: Devices,
        clock: Clock,
        taken: Callable[[], Iterable[str]],
        routes: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._file, self._devices, self._clock = file, devices, clock
        self._taken, self._routes = taken, routes
        self._networks: dict[str, LocalNetwork] = {}
        self._addresses: dict[str, list[AddressSet]] = {}
        self._chosen: dict[str, Subnet] = {}  # by id of the swarm's networks for which nobody named a subnet
        self._connected: dict[str, dict[str, ConnectedContainer]] = {}
        self._changing = asyncio.Lock()

    def load(self) -> None:
        """Read what is on disk; a damaged file is set aside with a warning."""
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return
        try:
            found = msgspec.json.decode(raw, type=list[LocalNetwork])
        except msgspec.DecodeError as error:
            aside = self._file.with_suffix(".damaged")
            self._file.rename(aside)
            log.error(
                "the list of this host's networks is damaged", extra={"kept": str(aside), "why": str(error)}
            )
            return
        self._networks = {network.id: network for network in found}

    # -- the API's side (LocalNetworks) ------------------------------------------------------------
    def list(self) -> Sequence[LocalNetwork]:
        return [
            replace(network, containers=dict(self._connected.get(network.id, {})))
            for network in self._networks.values()
        ]

    async def create(self, wanted: NetworkRequest) -> LocalNetwork:
        return await to_the_end(self._create(wanted))  # half made it would be nobody's

    async def _create(self, wanted: NetworkRequest) -> LocalNetwork:
        async with self._changing:
            _check_name(wanted.name)
            if any(network.wanted.name == wanted.name for network in self._networks.values()):
                raise Conflict(f"network with name {wanted.name} already exists")
            for said in (wanted.labels, wanted.options):
                check_antispoof(said)
            driver = wanted.driver or "bridge"
            if driver not in DRIVERS and not wanted.config_only:
                raise Invalid(f"unknown network driver {driver!r}", f"use overlay, {', '.join(DRIVERS)}")
            if len(wanted.ipam.config) > MAX_POOLS:
                raise Invalid(f"{len(wanted.ipam.config)} subnets: a network has at most {MAX_POOLS}")
            settings = self._with_configuration(wanted)
            pools = self._asked(settings) if wanted.config_only else self._pools(settings)
            made = LocalNetwork(
                id=secrets.token_hex(32), created_at=self._clock.now(), wanted=settings, pools=pools
            )
            if not wanted.config_only:
                await self._devices.make_segment(segment_of(made))
            try:
                await self._save({**self._networks, made.id: made})
            except OSError:
                if not wanted.config_only:
                    await self._devices.remove_segment(segment_of(made))
                raise
            return made

    async def remove(self, network_id: str) -> None:
        await to_the_end(self._remove(network_id))

    async def _remove(self, network_id: str) -> None:
        async with self._changing:
            network = self._networks.get(network_id)
            if network is None:
                raise NotFound(f"network {network_id} not found")
            if holders := self._connected.get(network_id):
                names = ", ".join(sorted(container.name for container in holders.values()))
                raise FailedPrecondition(f"network {network.wanted.name} has active endpoints: {names}")
            if users := self._made_from(network.wanted.name):
                raise FailedPrecondition(
                    f"configuration network {network.wanted.name} is in use by {', '.join(users)}"
                )
            await self._save({key: other for key, other in self._networks.items() if key != network_id})
            if not network.wanted.config_only:
                await self._devices.remove_segment(segment_of(network))

    def _made_from(self, name: str) -> Sequence[str]:
        return [
            other.wanted.name
            for other in self._networks.values()
            if other.wanted.config_from is not None and other.wanted.config_from.network == name
        ]

    async def _save(self, networks: dict[str, LocalNetwork]) -> None:
        content = msgspec.json.encode(list(networks.values()))
        await asyncio.to_thread(write_atomically, self._file, content, durable=True)
        self._networks = networks

    # -- subnets -----------------------------------------------------------------------------------
    def _with_configuration(self, wanted: NetworkRequest) -> NetworkRequest:
        """With the settings of the network that it is made from, if it names one."""
        if wanted.config_from is None or not wanted.config_from.network:
            return wanted
        source = self._configuration(wanted.config_from.network)
        if wanted.ipam.config or wanted.options:
            raise Invalid(
                "user specified configurations are not supported if the network is made from another"
            )
        return replace(
            wanted,
            ipam=source.wanted.ipam,
            options=source.wanted.options,
            internal=source.wanted.internal,
            enable_ipv6=source.wanted.enable_ipv6,
        )

    def _configuration(self, name: str) -> LocalNetwork:
        for network in self._networks.values():
            if network.wanted.name == name or network.id == name:
                if not network.wanted.config_only:
                    raise Invalid(f"network {name} is not a configuration network")
                return network
        raise NotFound(f"configuration network {name} not found", "create it on this host with --config-only")

    def _pools(self, wanted: NetworkRequest) -> tuple[AddressPool, ...]:
        """What was asked for, checked; an IPv4 pool of our own where none was."""
        used = [parse_subnet(text) for text in self._used_subnets()]
        pools = list(self._asked(wanted))
        given = [parse_subnet(pool.subnet) for pool in pools]
        for place, subnet in enumerate(given):
            others = given[:place] + (used if (wanted.driver or "bridge") == "bridge" else [])
            if any(overlap(subnet, other) for other in others):
                raise _overlapping(str(subnet))
        if not any(subnet.version == 4 for subnet in given):
            found = self._free(used + given)
            pools.append(AddressPool(subnet=str(found), gateway=first_address(found)))
        if wanted.enable_ipv6 and not any(subnet.version == 6 for subnet in given):
            unique = ip_network(
                f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}::/64"
            )
            pools.append(AddressPool(subnet=str(unique), gateway=first_address(unique)))
        return tuple(pools)

    @staticmethod
    def _asked(wanted: NetworkRequest) -> tuple[AddressPool, ...]:
        """The subnets that were named, with their gateways. Invalid if anything of them does not fit."""
        return tuple(found for pool in wanted.ipam.config if (found := _checked(pool)) is not None)

    def _used_subnets(self) -> Sequence[str]:
        own = [
            pool.subnet
            for network in self._networks.values()
            if not network.wanted.config_only
            for pool in network.pools
        ]
        return [*own, *map(str, self._chosen.values()), *self._taken()]

    def _free(self, used: Sequence[Subnet]) -> Subnet:
        """Behind a route that is wider than the subnet only where there is nothing else: it is but a direction."""
        routes = [parse_subnet(text) for text in self._routes()]
        for strict in (True, False):
            for text, length in POOLS:
                avoided = (route for route in routes if strict or route.prefixlen >= length)
                found = free_subnet([parse_subnet(text)], length, [*used, *avoided])
                if found is not None:
                    return found
        raise FailedPrecondition(
            "no free subnet is left for a network of this host", "name one with --subnet"
        )

    # -- the worker's side -------------------------------------------------------------------------
    def segments(self) -> Sequence[HostSegment]:
        """Every network that this host has devices for."""
        return [segment_of(each) for each in self._networks.values() if not each.wanted.config_only]

    def segment(self, text: str) -> HostSegment | None:
        """A network of this host by id or name."""
        for network in self._networks.values():
            if text in (network.id, network.wanted.name) and not network.wanted.config_only:
                return segment_of(network)
        return None

    def of_swarm(self, network: OverlayNetwork) -> HostSegment:
        """The swarm's network of a local driver, as this host has it configured."""
        if not network.config_from:
            pools = [AddressPool(subnet=e.subnet, gateway=e.gateway) for e in network.subnets]
            options = network.options
        else:
            source = self._configuration(network.config_from)
            pools = list(self._asked(source.wanted))
            options = source.wanted.options
        if not pools:
            if (found := self._chosen.get(network.id)) is None:
                found = self._free([parse_subnet(text) for text in self._used_subnets()])
                self._chosen[network.id] = found
            pools = [AddressPool(subnet=str(found), gateway=first_address(found))]
        return _segment(network.id, network.name, network.driver, pools, options, internal=network.internal)

    def make_join(
        self, segment: HostSegment, container_id: str, name: str, interface: str, wanted: Sequence[str] = ()
    ) -> HostJoin:
        """An interface with one address of each subnet, all of them or none. Invalid or FailedPrecondition says which
        wish cannot be met, and which subnet is full."""
        sets = self._sets(segment)
        wishes = wishes_of(sets, wanted, segment.name, container_id)
        if any(wish is None and held.full for held, wish in zip(sets, wishes, strict=True)):
            raise FailedPrecondition(f"no address is left on network {segment.name} of this host")
        addresses = [given(held, wish, container_id) for held, wish in zip(sets, wishes, strict=True)]
        join = HostJoin(
            segment=segment,
            interface=interface,
            mac=endpoint_mac(container_id, segment.id),
            addresses=tuple(addresses),
            antispoof=segment.antispoof,
        )
        self._note(join, container_id, name)
        return join

    def _note(self, join: HostJoin, container_id: str, name: str) -> None:
        v4 = next((address for address in join.addresses if ":" not in address), "")
        v6 = next((address for address in join.addresses if ":" in address), "")
        self._connected.setdefault(join.segment.id, {})[container_id] = ConnectedContainer(
            name=name,
            endpoint_id=f"{join.segment.id[:32]}{container_id[:32]}",
            mac=join.mac,
            ipv4=v4,
            ipv6=v6,
        )

    def _sets(self, segment: HostSegment) -> Sequence[AddressSet]:
        if (known := self._addresses.get(segment.id)) is None:
            try:
                known = self._addresses[segment.id] = address_sets(segment)
            except ValueError as error:
                # Earlier releases stored what was never looked at.
                raise FailedPrecondition(
                    f"network {segment.name} of this host makes no sense: {error}", "remove it, make it anew"
                ) from None
        return known

    def give_back(self, join: HostJoin, container_id: str) -> None:
        for held in self._sets(join.segment):
            for address in join.addresses:
                held.release(address, container_id)
        self._connected.get(join.segment.id, {}).pop(container_id, None)

    def adopt(self, sandboxes: Iterable[SandboxSpec], names: Mapping[str, str]) -> None:
        """After a restart: the addresses of containers that are there are taken."""
        for sandbox in sandboxes:
            for join in sandbox.host_joins:
                if join.segment.id not in self._networks:
                    self._chosen[join.segment.id] = parse_subnet(join.segment.subnets[0])
                for held in self._sets(join.segment):
                    for address in join.addresses:
                        if held.covers(address):
                            held.reserve(address, sandbox.id)
                self._note(join, sandbox.id, names.get(sandbox.id, sandbox.id[:12]))


def _check_name(name: str) -> None:
    """Docker takes any name for a network of one host, also one with blanks in it; devices have names of their own."""
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Invalid(
            f"invalid network name {clipped(name)}",
            f"it has 1 to {_LONGEST_NAME} characters, not only blanks",
        )


def _overlapping(subnet: str) -> Conflict:
    return Conflict(
        f"Pool overlaps with other one on this address space: {subnet}", "choose another --subnet"
    )


def _checked(pool: AddressPool) -> AddressPool | None:
    """With its gateway; None where the subnet is ours to choose. Invalid if something does not fit."""
    subnet = checked_pool(
        IPAMConfig(
            subnet=pool.subnet,
            range=pool.ip_range,
            gateway=pool.gateway,
            auxiliary_addresses=pool.auxiliary_addresses,
        )
    )
    if subnet is None:
        return None
    kept = {ip_address(each) for each in pool.auxiliary_addresses.values()}
    gateway = pool.gateway or next((str(each) for each in subnet.hosts() if each not in kept), "")
    if not gateway:
        raise Invalid(f"subnet {subnet} has no address left for its gateway")
    return replace(pool, gateway=gateway)


def segment_of(network: LocalNetwork) -> HostSegment:
    wanted = network.wanted
    driver = wanted.driver or "bridge"
    made = _segment(network.id, wanted.name, driver, network.pools, wanted.options, internal=wanted.internal)
    return replace(made, antispoof=made.antispoof and is_antispoof(wanted.labels))


def _segment(
    network_id: str,
    name: str,
    driver: str,
    pools: Sequence[AddressPool],
    options: Mapping[str, str],
    *,
    internal: bool,
) -> HostSegment:
    return HostSegment(
        id=network_id,
        name=name,
        driver=driver,
        subnets=tuple(pool.subnet for pool in pools),
        gateways=tuple(pool.gateway for pool in pools),
        ranges=tuple(pool.ip_range for pool in pools),
        reserved=tuple(address for pool in pools for address in pool.auxiliary_addresses.values()),
        options=dict(options),
        internal=internal,
        antispoof=is_antispoof(options),
    )
