"""A service's presence on networks: how its name resolves, published ports, virtual addresses."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from msgspec import field
from msgspec.structs import replace

from swarmcore.model.base import Part, Uint, shown

#: Labels of services. `local`: published ports lead only to replicas of the node that was asked, `mesh`: to all.
INGRESS_LABEL = "pyswarm.ingress"
INGRESS_WAYS = ("local", "mesh")
#: How long connections that live get to end before a task is stopped: a duration such as 30s.
DRAIN_LABEL = "pyswarm.drain"


class EndpointMode(StrEnum):
    VIP = "vip"
    DNSRR = "dnsrr"


class Protocol(StrEnum):
    TCP = "tcp"
    UDP = "udp"
    SCTP = "sctp"


class PublishMode(StrEnum):
    INGRESS = "ingress"
    HOST = "host"


class PortConfig(Part, frozen=True, kw_only=True):
    """PublishedPort 0 = the allocator chooses."""

    name: str = ""
    protocol: Protocol = shown(Protocol.TCP)
    target_port: Uint = 0
    published_port: Uint = 0
    publish_mode: PublishMode = shown(PublishMode.INGRESS)


class EndpointSpec(Part, frozen=True, kw_only=True):
    mode: EndpointMode = shown(EndpointMode.VIP)
    ports: tuple[PortConfig, ...] = ()

    @property
    def uses_ingress(self) -> bool:
        """Whether its tasks need an address on the ingress network."""
        return any(port.publish_mode is PublishMode.INGRESS for port in self.ports)


def needs_new_tasks(old: EndpointSpec | None, new: EndpointSpec | None) -> bool:
    """Whether tasks made for `old` cannot serve `new`: their host's ports differ, or they are not on ingress yet.

    The rest (mode, ports of the routing mesh) lives outside of the containers and changes under running tasks;
    Docker replaces all tasks for it.
    """
    old, new = old or EndpointSpec(), new or EndpointSpec()
    return _host_ports(old) != _host_ports(new) or (new.uses_ingress and not old.uses_ingress)


def _host_ports(spec: EndpointSpec) -> Counter[PortConfig]:
    return Counter(replace(port, name="") for port in spec.ports if port.publish_mode is PublishMode.HOST)


class VirtualIP(Part, frozen=True, kw_only=True):
    network_id: str = field(default="", name="NetworkID")
    addr: str = ""  # CIDR


class Endpoint(Part, frozen=True, kw_only=True):
    """What the allocator gave for `spec`."""

    spec: EndpointSpec = shown(EndpointSpec())
    ports: tuple[PortConfig, ...] = ()
    virtual_ips: tuple[VirtualIP, ...] = field(default=(), name="VirtualIPs")
