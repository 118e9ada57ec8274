"""A service's presence on networks: how its name resolves, published ports, virtual addresses."""

from __future__ import annotations

from enum import StrEnum

from msgspec import field

from swarmcore.model.base import Part, Uint, shown


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


class VirtualIP(Part, frozen=True, kw_only=True):
    network_id: str = field(default="", name="NetworkID")
    addr: str = ""  # CIDR


class Endpoint(Part, frozen=True, kw_only=True):
    """What the allocator gave for `spec`."""

    spec: EndpointSpec = shown(EndpointSpec())
    ports: tuple[PortConfig, ...] = ()
    virtual_ips: tuple[VirtualIP, ...] = field(default=(), name="VirtualIPs")
