"""What the Engine API asks of this host's networks: requests as Docker's clients send them, and who carries them out.

The daemon's `Node` offers the protocols of this module as far as this host can; the API says so where it cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from msgspec import Struct, field

from swarmcore.model.base import Part
from swarmcore.model.network import ConfigSource


class AddressPool(Part, frozen=True, kw_only=True):
    """One subnet (CIDR) of a network; empty fields are chosen by whoever gives the addresses."""

    subnet: str = ""
    ip_range: str = field(default="", name="IPRange")
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = field(default_factory=dict)


class IPAM(Part, frozen=True, kw_only=True):
    driver: str = ""
    options: dict[str, str] = field(default_factory=dict)
    config: tuple[AddressPool, ...] = ()


class NetworkRequest(Part, frozen=True, kw_only=True):
    """POST /networks/create. Names are always checked for duplicates, whatever `check_duplicate` says."""

    name: str = ""
    check_duplicate: bool = False
    driver: str = ""
    scope: str = ""
    enable_ipv4: bool | None = field(default=None, name="EnableIPv4")
    enable_ipv6: bool = field(default=False, name="EnableIPv6")
    ipam: IPAM = field(default_factory=IPAM, name="IPAM")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    config_only: bool = False
    config_from: ConfigSource | None = None
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


class EndpointIPAM(Part, frozen=True, kw_only=True):
    """Addresses that a container shall have."""

    ipv4_address: str = field(default="", name="IPv4Address")
    ipv6_address: str = field(default="", name="IPv6Address")
    link_local_ips: tuple[str, ...] = field(default=(), name="LinkLocalIPs")


class EndpointSettings(Part, frozen=True, kw_only=True):
    """How a container joins a network. The fields from `network_id` on are answers that clients send back."""

    ipam_config: EndpointIPAM | None = field(default=None, name="IPAMConfig")
    links: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    mac_address: str = ""
    gw_priority: int = 0
    network_id: str = field(default="", name="NetworkID")
    endpoint_id: str = field(default="", name="EndpointID")
    gateway: str = ""
    ip_address: str = field(default="", name="IPAddress")
    ip_prefix_len: int = field(default=0, name="IPPrefixLen")
    ipv6_gateway: str = field(default="", name="IPv6Gateway")
    global_ipv6_address: str = field(default="", name="GlobalIPv6Address")
    global_ipv6_prefix_len: int = field(default=0, name="GlobalIPv6PrefixLen")
    dns_names: tuple[str, ...] = field(default=(), name="DNSNames")


class ConnectRequest(Part, frozen=True, kw_only=True):
    container: str = ""
    endpoint_config: EndpointSettings = field(default_factory=EndpointSettings)


class DisconnectRequest(Part, frozen=True, kw_only=True):
    container: str = ""
    force: bool = False


class ConnectedContainer(Struct, frozen=True, kw_only=True):
    """A container on a network of this host; addresses are CIDR."""

    name: str
    endpoint_id: str = ""
    mac: str = ""
    ipv4: str = ""
    ipv6: str = ""


class LocalNetwork(Struct, frozen=True, kw_only=True):
    """A network of this host alone: what was asked for, the pools that it got, and who is on it by container id."""

    id: str
    created_at: datetime
    wanted: NetworkRequest
    pools: tuple[AddressPool, ...] = ()
    containers: Mapping[str, ConnectedContainer] = {}


class LocalNetworks(Protocol):
    """User-defined networks of this host (bridge, macvlan, configuration only)."""

    def list(self) -> Sequence[LocalNetwork]: ...

    async def create(self, wanted: NetworkRequest) -> LocalNetwork:
        """Conflict if the name is taken, Invalid if what is asked for makes no sense."""
        ...

    async def remove(self, network_id: str) -> None:
        """FailedPrecondition while a container is on it, NotFound if it is gone."""
        ...
