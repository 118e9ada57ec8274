"""What an overlay network gets (subnets, gateways, VNIs), or why it cannot: values in, a value or an error out.

That a spec makes sense, and asks for nothing that another network has, was checked when it was written.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from random import Random

from msgspec import Struct
from msgspec.structs import replace

from manager.rules.clashes import HostNetwork, all_host_networks
from manager.store.tables import Tables
from swarmcore import ipam
from swarmcore.errors import Conflict, FailedPrecondition, Invalid, SwarmError
from swarmcore.ipam import Subnet
from swarmcore.model.base import Driver
from swarmcore.model.cluster import Cluster
from swarmcore.model.network import OVERLAY, VXLAN_IDS, IPAMConfig, IPAMOptions, Network, NetworkSpec
from swarmcore.text.numbers import whole

FIRST_VNI, LAST_VNI = 4096, (1 << 24) - 1  # of those that we choose; users may also take lower ones
#: The first is Docker's. The others are for swarms whose first host has no room in it.
DEFAULT_POOLS = (("10.0.0.0/8",), ("172.16.0.0/12",), ("192.168.0.0/16",))
DEFAULT_POOL = DEFAULT_POOLS[0]
DEFAULT_SUBNET_SIZE = 24
INGRESS_SIZE = 20  # prefix length: room for 4,000 nodes and published tasks
IPV6_SIZE = 64
_parse = lru_cache(maxsize=8192)(ipam.parse_subnet)


class NetworkPlan(Struct, frozen=True, kw_only=True):
    """What the allocator writes to a network."""

    ipam_options: IPAMOptions
    driver_state: Driver


def is_overlay(spec: NetworkSpec) -> bool:
    """Only these get addresses from the swarm; networks of other drivers are every node's own matter."""
    return spec.driver == OVERLAY


def is_allocated(network: Network) -> bool:
    """It has all that it needs from the swarm."""
    return not is_overlay(network.spec) or (
        network.ipam_options is not None and network.driver_state is not None
    )


def trouble(network: Network, tables: Tables) -> str:
    """Why a network has no subnets; empty if it has."""
    if is_allocated(network):
        return ""
    try:
        plan_network(network.spec, tables, Random(0), network_id=network.id)
    except SwarmError as error:
        return str(error)
    return "it waits for the leader"


def plan_network(spec: NetworkSpec, tables: Tables, random: Random, *, network_id: str = "") -> NetworkPlan:
    """`random` chooses the VNIs: what cannot be guessed cannot be forged (decision 0022), and a VNI that was free
    a moment ago does not come again, which a host that has not heard of its end would mix with the old network.

    Invalid, Conflict (a subnet or VNI is taken) or FailedPrecondition (the pools are used up) say why not.
    """
    cluster = next(iter(tables.clusters), None)
    others = [network for network in tables.networks if network.id != network_id]
    wanted = _wanted(spec)
    explicit = [_parse(config.subnet) for pair in wanted for config in pair if config is not None]
    hosts = all_host_networks(tables)
    # Hosts' networks do not stand against a user's own choice, of which a warning was given. Nor does a network
    # that is being removed: a stack that is deployed again names its subnets again.
    _check_free(explicit, _taken_by_networks(n for n in others if not n.pending_delete))
    blocked = [*explicit, *_taken_by_networks(others)]
    configs: list[IPAMConfig] = []
    for v4, v6 in wanted:
        configs.append(
            _completed(v4) if v4 is not None else _chosen(_ipv4_pools(cluster, spec), blocked, hosts)
        )
        if spec.ipv6_enabled:
            configs.append(
                _completed(v6) if v6 is not None else _chosen(_ipv6_pools(cluster), blocked, hosts)
            )
    # IPv4 first, each family in its own order: the subnets at the same place of both share a VNI.
    configs.sort(key=lambda config: _parse(config.subnet).version)
    options = dict(spec.options)
    vnis = _vnis(options.get(VXLAN_IDS, ""), len(wanted), others, random)
    options[VXLAN_IDS] = ",".join(map(str, vnis))
    driver = spec.ipam_options.driver if spec.ipam_options is not None else None
    return NetworkPlan(
        ipam_options=IPAMOptions(driver=driver or Driver(name="default"), configs=tuple(configs)),
        driver_state=Driver(name=OVERLAY, options=options),
    )


# -- what the user asks for ----------------------------------------------------------------------
_Pair = tuple[IPAMConfig | None, IPAMConfig | None]  # the IPv4 and the IPv6 subnet of one VNI


def _wanted(spec: NetworkSpec) -> list[_Pair]:
    """None stands for a subnet that we choose. A network has at least one pair."""
    by_version: dict[int, list[IPAMConfig | None]] = {4: [], 6: []}
    options = spec.ipam_options or IPAMOptions()
    for config in options.configs:
        version = _valid(config.subnet).version if config.subnet else 4
        by_version[version].append(config if config.subnet else None)
    if by_version[6] and not spec.ipv6_enabled:
        raise Invalid(f"network {spec.name} has an IPv6 subnet, but no IPv6", "add --ipv6")
    pairs = max(1, *map(len, by_version.values()))
    v4, v6 = (given + [None] * (pairs - len(given)) for given in by_version.values())
    return list(zip(v4, v6, strict=True))


def _valid(text: str) -> Subnet:
    try:
        return _parse(text)
    except ValueError as error:
        raise Invalid(str(error)) from None


def _completed(config: IPAMConfig) -> IPAMConfig:
    """With a gateway: the first address that is not the user's own."""
    if config.gateway:
        return config
    subnet = _parse(config.subnet)
    kept = {ipam.address_number(a, subnet.version) for a in config.auxiliary_addresses.values()}
    base = int(subnet.network_address)
    first = ipam.address_number(ipam.first_address(subnet), subnet.version)
    assert first is not None
    free = next((n for n in range(first, first + ipam.room(subnet)) if n not in kept), None)
    if free is None:
        raise Invalid(f"subnet {subnet} has no address left for its gateway")
    return replace(config, gateway=str(subnet[free - base]))


# -- subnets that we choose ----------------------------------------------------------------------
def free_beside(
    pools: Sequence[Subnet],
    size: int,
    blocked: Sequence[Subnet],
    hosts: Iterable[HostNetwork],
    *,
    strict: bool,
) -> Subnet | None:
    """The first free one that is in no host's way; if `strict`, none behind a wide route either."""
    avoided = (each.subnet for each in hosts if strict or not each.is_wider_than(size))
    return ipam.free_subnet(pools, size, [*blocked, *avoided])


def _chosen(
    where: tuple[list[Subnet], int], blocked: list[Subnet], hosts: Sequence[HostNetwork]
) -> IPAMConfig:
    """It is blocked from then on."""
    pools, size = where
    subnet = free_beside(pools, size, blocked, hosts, strict=True)
    if subnet is None:
        subnet = free_beside(pools, size, blocked, hosts, strict=False)
    if subnet is None:
        raise FailedPrecondition(
            f"no free /{size} subnet is left in the address pools {', '.join(map(str, pools)) or '(none)'}",
            "networks of the swarm and of its hosts have them all: remove some, name a subnet, "
            "or make the swarm with a larger --default-addr-pool",
        )
    blocked.append(subnet)
    return IPAMConfig(subnet=str(subnet), gateway=ipam.first_address(subnet))


def _ipv4_pools(cluster: Cluster | None, spec: NetworkSpec) -> tuple[list[Subnet], int]:
    texts = (cluster.default_addr_pool if cluster is not None else ()) or DEFAULT_POOL
    size = (cluster.subnet_size if cluster is not None else 0) or DEFAULT_SUBNET_SIZE
    pools: list[Subnet] = [IPv4Network(text) for text in texts]
    return pools, ingress_size(pools, size) if spec.ingress else size


def ingress_size(pools: Sequence[Subnet], size: int) -> int:
    """Prefix length. One for the whole swarm, so a large one; but a small pool is not spent on it alone."""
    widest = min(pool.prefixlen for pool in pools)
    return max(INGRESS_SIZE, min(widest + 4, size))


def _ipv6_pools(cluster: Cluster | None) -> tuple[list[Subnet], int]:
    pool: IPv6Network = ipam.local_ipv6_pool(cluster.id if cluster is not None else "")
    return [pool], IPV6_SIZE


def _taken_by_networks(networks: Iterable[Network]) -> dict[Subnet, str]:
    """Subnets with the names of their networks."""
    return {
        _parse(config.subnet): network.spec.name
        for network in networks
        for config in (network.ipam_options.configs if network.ipam_options is not None else ())
    }


def _check_free(wanted: Sequence[Subnet], taken: Mapping[Subnet, str]) -> None:
    for subnet in wanted:
        for other, name in taken.items():
            if ipam.overlap(subnet, other):
                raise Conflict(
                    f"subnet {subnet} overlaps with {other} of network {name}", "choose another subnet"
                )


# -- VNIs ------------------------------------------------------------------------------------------
def vnis_of(network: Network) -> tuple[int, ...]:
    """The VNIs of its IPv4 subnets, in their order."""
    text = network.driver_state.options.get(VXLAN_IDS, "") if network.driver_state is not None else ""
    return tuple(map(int, text.split(","))) if text else ()


def _vnis(wanted: str, number: int, others: Iterable[Network], random: Random) -> list[int]:
    holders = {vni: network.spec.name for network in others for vni in vnis_of(network)}
    if wanted:
        found = _asked_vnis(wanted, number)
        for vni in found:
            if vni in holders:
                raise Conflict(f"VNI {vni} is already used by network {holders[vni]}", "choose another VNI")
        return found
    found = []
    for _ in range(number):
        found.append(_free_vni({*holders, *found}, random))
    return found


def _free_vni(taken: Container[int], random: Random) -> int:
    start = random.randint(FIRST_VNI, LAST_VNI)
    places = chain(range(start, LAST_VNI + 1), range(FIRST_VNI, start))
    found = next((vni for vni in places if vni not in taken), None)
    if found is None:
        raise FailedPrecondition("all VNIs are in use", "remove networks")
    return found


def _asked_vnis(text: str, number: int) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    found = [vni for word in words if (vni := whole(word, LAST_VNI, 1)) is not None]
    if len(found) < len(words) or len(set(found)) < len(found) or len(found) < number:
        raise Invalid(
            f"option {VXLAN_IDS}={text!r} does not name a VNI for each of {number} subnets",
            f"give different numbers from 1 to {LAST_VNI}",
        )
    return found[:number]
