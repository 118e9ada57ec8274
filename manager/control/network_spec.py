"""What the spec of a network must say, whatever other networks there are: one Invalid line names the fault.

Texts about subnets are those of Docker's ValidateIPAM (moby daemon/network).
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations

from msgspec.structs import replace

from manager.rules.sizes import spec_size
from swarmcore.errors import Forbidden, Invalid, Unsupported, clipped
from swarmcore.ids import check_name
from swarmcore.model.base import Driver
from swarmcore.model.network import (
    ANTISPOOF,
    ENCRYPTED,
    FALSE,
    MTU,
    OVERLAY,
    PREDEFINED,
    TRUE,
    VXLAN_IDS,
    IPAMConfig,
    NetworkSpec,
    check_antispoof,
)
from swarmcore.model.pool import checked_pool, subnet_in
from swarmcore.text.numbers import whole

Subnet = IPv4Network | IPv6Network

#: Drivers that work on each host for itself; in the swarm's scope only the name is shared.
LOCAL_DRIVERS = ("bridge", "macvlan", "ipvlan")
MAX_POOLS = 256  # each is compared with every other
_ALONE = {"host": "host", "none": "null", "null": "null"}
_ON_A_PARENT = ("macvlan", "ipvlan")
_MTU_RANGE = range(68, 65536)  # RFC 791, 3.1: what every host must take; the length field's limit
_MTU_IPV6 = 1280  # RFC 8200, 5
_VNI_RANGE = range(1, 1 << 24)  # RFC 7348, 5
#: No container can be reached there: this host, loopback, link-local (also the way out's own hop), multicast.
_UNUSABLE: tuple[Subnet, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/3",
        "::/127",
        "fe80::/10",
        "ff00::/8",
    )
)


def canonical(spec: NetworkSpec) -> NetworkSpec:
    """The spec with its driver named."""
    return replace(spec, driver_configuration=Driver(name=spec.driver, options=spec.options))


def check(spec: NetworkSpec) -> None:
    check_name(spec.name, "network")
    spec_size(spec, f"network {spec.name}")
    if spec.name in PREDEFINED:
        raise Forbidden(f"{spec.name} is a pre-defined network and cannot be created")
    if spec.driver in _ALONE:
        raise Forbidden(f'only one instance of "{_ALONE[spec.driver]}" network is allowed')
    if spec.driver == OVERLAY:
        _overlay(spec)
    elif spec.driver in LOCAL_DRIVERS:
        _local(spec)
    else:
        known = ", ".join((OVERLAY, *LOCAL_DRIVERS))
        raise Invalid(f"network driver {spec.driver!r} not found", f"known are {known}")
    for settings in (spec.labels, spec.options):
        check_antispoof(settings)
    _mtu(spec)
    _ipam(spec)


def ignored_options(spec: NetworkSpec) -> list[str]:
    """Options of an overlay that mean nothing here; a host's drivers have their own."""
    if spec.driver != OVERLAY:
        return []
    return sorted(spec.options.keys() - {MTU, VXLAN_IDS, ENCRYPTED, ANTISPOOF})


def _overlay(spec: NetworkSpec) -> None:
    if spec.scope not in ("", "swarm", "global"):
        raise Invalid(f"network {spec.name}: networks of the driver overlay belong to the swarm")
    if spec.config_from is not None and spec.config_from.network:
        raise Invalid(
            "an overlay network takes no configuration from another network",
            "--config-from is for drivers of each host, such as macvlan",
        )
    if spec.ingress and spec.attachable:
        raise Invalid("ingress network cannot be attachable")
    if spec.ingress and spec.internal:
        raise Invalid("ingress network cannot be internal")
    value = spec.options.get(ENCRYPTED, "")
    if value not in TRUE | FALSE:
        raise Invalid(f"invalid option {ENCRYPTED}={value!r}", "it is true or false")
    if ids := vxlan_ids(spec):
        subnets = max(1, sum(isinstance(subnet, IPv4Network) for subnet in subnets_of(spec)))
        if len(ids) < subnets:
            raise Invalid(
                f"option {VXLAN_IDS} names {len(ids)} ids for {subnets} subnets", "give one for each"
            )


def _local(spec: NetworkSpec) -> None:
    if spec.scope not in ("swarm", "global"):
        raise Invalid(
            f"network {spec.name}: the driver {spec.driver} works on each host for itself",
            "create it with the scope swarm and a configuration network on each host, or on one host alone",
        )
    if spec.ingress:
        raise Invalid("only overlay driver is currently supported for ingress network")
    source = spec.config_from.network if spec.config_from else ""
    if source and (spec.options or spec.ipam_options is not None):
        raise Invalid(
            "user-supplied configurations are not supported if the network depends on a configuration network"
        )
    if not source and spec.driver in _ON_A_PARENT:
        raise Invalid(
            f"a {spec.driver} network of the swarm needs a configuration network of each host",
            "name it with --config-from: hosts differ in their devices and must not share addresses",
        )
    if not source and spec.ipam_options is not None:
        raise Invalid(
            f"the subnets of a {spec.driver} network are each host's own",
            "put them into a configuration network and name it with --config-from",
        )


def _mtu(spec: NetworkSpec) -> None:
    if (text := spec.options.get(MTU)) is None:
        return
    lowest = _MTU_IPV6 if spec.ipv6_enabled else _MTU_RANGE[0]
    if whole(text, _MTU_RANGE[-1], lowest) is None:
        raise Invalid(
            f"invalid option {MTU}={clipped(text)}", f"it is a number from {lowest} to {_MTU_RANGE[-1]}"
        )


def vxlan_ids(spec: NetworkSpec) -> tuple[int, ...]:
    """The VNIs that the user chose, one per IPv4 subnet."""
    if not (text := spec.options.get(VXLAN_IDS, "")):
        return ()
    ids: list[int] = []
    for part in text.split(","):
        if (vni := whole(part.strip(), _VNI_RANGE[-1], _VNI_RANGE[0])) is None:
            raise Invalid(
                f"invalid VXLAN id {clipped(part)} in option {VXLAN_IDS}",
                f"they go from {_VNI_RANGE[0]} to {_VNI_RANGE[-1]}, separated by commas",
            )
        ids.append(vni)
    if len(set(ids)) < len(ids):
        raise Invalid(f"option {VXLAN_IDS} names an id twice: {clipped(text)}")
    return tuple(ids)


# -- subnets ---------------------------------------------------------------------------------------
def _ipam(spec: NetworkSpec) -> None:
    if spec.ipam_options is None:
        return
    driver = spec.ipam_options.driver
    if driver is not None and driver.name not in ("", "default"):
        raise Invalid(f"IPAM driver {driver.name!r} not found", 'the only one is "default"')
    if driver is not None and driver.options:
        raise Unsupported(f"IPAM options are not supported yet: {', '.join(sorted(driver.options))}")
    if len(spec.ipam_options.configs) > MAX_POOLS:
        raise Invalid(f"{len(spec.ipam_options.configs)} subnets: a network has at most {MAX_POOLS}")
    for config in spec.ipam_options.configs:
        _pool(config, spec)
    subnets = subnets_of(spec)
    for one, other in combinations(subnets, 2):
        if one.overlaps(other):
            raise Invalid(f"subnets {one} and {other} of network {spec.name} overlap")


def _pool(config: IPAMConfig, spec: NetworkSpec) -> None:
    subnet = checked_pool(config)
    if subnet is None:
        return
    if isinstance(subnet, IPv6Network) and not spec.ipv6_enabled:
        raise Invalid(f"invalid subnet {subnet}: IPv6 has not been enabled for this network", "add --ipv6")
    if subnet.num_addresses < 4:
        raise Invalid(f"invalid subnet {subnet}: it is too small for a gateway and a container")
    for unusable in _UNUSABLE:
        if subnet.overlaps(unusable):
            raise Invalid(f"invalid subnet {subnet}: containers cannot be reached in {unusable}")


def subnets_of(spec: NetworkSpec) -> tuple[Subnet, ...]:
    """The subnets that the user chose; those left out are the allocator's to find."""
    configs = spec.ipam_options.configs if spec.ipam_options is not None else ()
    return tuple(subnet_in("subnet", config.subnet) for config in configs if config.subnet)
