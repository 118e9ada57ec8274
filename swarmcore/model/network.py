"""Networks of the swarm, and how a service or task is attached to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import field

from swarmcore.errors import Invalid
from swarmcore.model.base import INTERNAL, Driver, Object, Part, Spec, shown
from swarmcore.text import booleans

#: Networks that every host has of its own; specs of services hold them by name, they are no objects.
PREDEFINED = frozenset({"host", "none", "bridge"})
OVERLAY = "overlay"
#: Options of networks, under Docker's names.
MTU = "com.docker.network.driver.mtu"
VXLAN_IDS = "com.docker.network.driver.overlay.vxlanid_list"
ENCRYPTED = "encrypted"
TRUE = frozenset({"", *booleans.TRUE})  # `--opt encrypted` says nothing and means yes
FALSE = frozenset(booleans.FALSE)
#: Label of networks and services, and option of networks: `off` lets containers use MACs and addresses that were not
#: given to them, as VRRP does.
ANTISPOOF = "pyswarm.antispoof"


def is_antispoof(settings: Mapping[str, str]) -> bool:
    """Of labels or options."""
    return settings.get(ANTISPOOF) != "off"


def check_antispoof(settings: Mapping[str, str]) -> None:
    """Invalid where labels or options say it so that nobody would understand it."""
    if (value := settings.get(ANTISPOOF, "on")) not in ("on", "off"):
        raise Invalid(f"invalid setting {ANTISPOOF}={value!r}", "it is on or off")


class NetworkAttachmentConfig(Part, frozen=True, kw_only=True):
    """A wish: join the network `target` (id or name) under these further names.

    `addresses` (bare, at most one a family) are those that a container outside of services asks for.
    """

    target: str = ""
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)
    addresses: Annotated[tuple[str, ...], INTERNAL] = ()


class NetworkAttachment(Part, frozen=True, kw_only=True):
    """The wish fulfilled: the addresses (CIDR) that the allocator gave one task on one network."""

    network_id: str = field(default="", name="NetworkID")
    addresses: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)


class IPAMConfig(Part, frozen=True, kw_only=True):
    """One subnet (CIDR). `auxiliary_addresses` (names to addresses) are the user's own: nobody gets one of them."""

    subnet: str = ""
    range: str = ""
    gateway: str = ""
    auxiliary_addresses: dict[str, str] = field(default_factory=dict)


class IPAMOptions(Part, frozen=True, kw_only=True):
    driver: Driver | None = None
    configs: tuple[IPAMConfig, ...] = ()


class ConfigSource(Part, frozen=True, kw_only=True):
    """A network that only holds configuration for this one."""

    network: str = ""


class NetworkSpec(Spec, frozen=True, kw_only=True):
    driver_configuration: Driver | None = None
    ipv6_enabled: bool = field(default=False, name="IPv6Enabled")
    internal: bool = False
    attachable: bool = False
    ingress: bool = False
    ipam_options: IPAMOptions | None = field(default=None, name="IPAMOptions")
    config_from: ConfigSource | None = None
    scope: str = ""

    @property
    def driver(self) -> str:
        """The driver's name; Docker's default in the swarm is overlay."""
        return (self.driver_configuration.name if self.driver_configuration else "") or OVERLAY

    @property
    def options(self) -> dict[str, str]:
        return self.driver_configuration.options if self.driver_configuration else {}

    @property
    def encrypted(self) -> bool:
        return self.options.get(ENCRYPTED, "false") in TRUE

    @property
    def antispoof(self) -> bool:
        return is_antispoof(self.labels) and is_antispoof(self.options)


class Network(Object, frozen=True, kw_only=True):
    """`driver_state` and `ipam_options` are what the allocator chose (VNIs, subnets).

    `pending_delete`: the user has removed it and its name is free again, but tasks of removed services are still
    on it. It keeps its VNIs and subnets, is neither shown nor found, and goes with the last of these tasks.
    """

    spec: NetworkSpec = shown(NetworkSpec())
    driver_state: Driver | None = None
    ipam_options: IPAMOptions | None = field(default=None, name="IPAMOptions")
    pending_delete: Annotated[bool, INTERNAL] = False
