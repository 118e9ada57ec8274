"""Networks of the swarm, and how a service or task is attached to one."""

from __future__ import annotations

from msgspec import field

from swarmcore.model.base import Driver, Object, Part, Spec, shown


class NetworkAttachmentConfig(Part, frozen=True, kw_only=True):
    """A wish: join the network `target` (id or name) under these further names."""

    target: str = ""
    aliases: tuple[str, ...] = ()
    driver_opts: dict[str, str] = field(default_factory=dict)


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


class Network(Object, frozen=True, kw_only=True):
    """`driver_state` and `ipam_options` are what the allocator chose (VNIs, subnets)."""

    spec: NetworkSpec = shown(NetworkSpec())
    driver_state: Driver | None = None
    ipam_options: IPAMOptions | None = field(default=None, name="IPAMOptions")
