"""What a container's network sandbox is made from: values that the worker decides and keeps with the container."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from swarmcore.model.endpoint import PortConfig


class Join(Struct, frozen=True, kw_only=True):
    """One interface on one overlay network. `addresses` have prefix lengths, IPv4 first.

    `antispoof`: only what has this MAC and these addresses leaves by it.
    """

    network_id: str
    interface: str
    mac: str
    addresses: tuple[str, ...]
    antispoof: bool = True


class HostSegment(Struct, frozen=True, kw_only=True):
    """A network of one host (driver bridge, macvlan or ipvlan): its subnets (CIDR) and, in the same order, gateways
    and the ranges (CIDR or nothing) that addresses are taken from. `reserved` addresses are nobody's.
    `antispoof` is its containers'."""

    id: str
    name: str
    driver: str
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    reserved: tuple[str, ...] = ()
    options: dict[str, str] = {}
    internal: bool = False
    antispoof: bool = True


class HostJoin(Struct, frozen=True, kw_only=True):
    """One interface on a network of this host. `addresses` have prefix lengths. `antispoof` as in Join, on bridges."""

    segment: HostSegment
    interface: str
    mac: str
    addresses: tuple[str, ...]
    antispoof: bool = True


class Resolving(Struct, frozen=True, kw_only=True):
    """How the container resolves names that the swarm does not know.

    `upstreams` are asked in order; those in `from_host` are reached from the host's namespace, the others from the
    container's (an address that only the container can reach, or that the user gave with --dns).
    """

    upstreams: tuple[str, ...] = ()
    from_host: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    ndots: int = 0


class SandboxSpec(Struct, frozen=True, kw_only=True):
    """Everything of one container (`id`). `ingress` are its addresses on the ingress network, if it has any.

    `gateway`: it has a way out of the host (not where all its networks are internal). `host_ports` are
    published on this host alone, with the port chosen.
    """

    id: str
    task_id: str
    hostname: str = ""
    joins: tuple[Join, ...] = ()
    host_joins: tuple[HostJoin, ...] = ()
    ingress: tuple[str, ...] = ()
    gateway: bool = True
    host_ports: tuple[PortConfig, ...] = ()
    resolving: Resolving = Resolving()

    def without(self, network_id: str, mac: str) -> SandboxSpec:
        """Off a network of the swarm, where its interface there has this hardware address."""
        rest = tuple(join for join in self.joins if (join.network_id, join.mac) != (network_id, mac))
        return replace(self, joins=rest)
