"""What a request for a network means: whose it is (the swarm's or this host's), and the spec of a swarm's."""

from __future__ import annotations

from pyswarmd.engine.shown.networks import PREDEFINED_DRIVERS
from swarmcore.errors import Forbidden, Invalid, Unsupported
from swarmcore.model.base import Driver
from swarmcore.model.network import OVERLAY, IPAMConfig, IPAMOptions, NetworkSpec
from worker.networks.local_networks import IPAM, EndpointSettings, NetworkRequest

_ALONE = {"host": "host", "null": "null", "none": "null"}  # drivers of which a host has one network


def is_swarm(wanted: NetworkRequest) -> bool:
    """Whether the swarm shall have the network, or this host alone. Raises where it cannot be made at all."""
    if not wanted.name:
        raise Invalid("invalid name: a network's name must not be empty")
    if wanted.driver in _ALONE:
        raise Forbidden(f'only one instance of "{_ALONE[wanted.driver]}" network is allowed')
    if wanted.name in PREDEFINED_DRIVERS:
        raise Forbidden(f"{wanted.name} is a pre-defined network and cannot be created")
    if wanted.scope not in ("", "local", "swarm", "global"):
        raise Invalid(f"invalid network scope {wanted.scope!r}", 'the scopes are "local" and "swarm"')
    swarm = wanted.scope in ("swarm", "global")
    if wanted.config_only:
        if swarm or wanted.driver == OVERLAY:
            raise Invalid(
                "a network that only holds configuration belongs to one host", "leave the scope out"
            )
        if wanted.config_from is not None and wanted.config_from.network:
            raise Invalid("a network is either configuration or made from one, not both")
        return False
    if wanted.driver == OVERLAY and wanted.scope == "local":
        raise Invalid("networks of the driver overlay belong to the swarm", "leave the scope out")
    if wanted.ingress and wanted.driver not in ("", OVERLAY):
        raise Invalid("only the driver overlay can carry the ingress network", "use the driver overlay")
    return swarm or wanted.driver == OVERLAY or wanted.ingress


def spec_of(wanted: NetworkRequest) -> NetworkSpec:
    if wanted.enable_ipv4 is False:
        raise Unsupported("a network of the swarm without IPv4 is not supported yet")
    return NetworkSpec(
        name=wanted.name,
        labels=wanted.labels,
        driver_configuration=Driver(name=wanted.driver or OVERLAY, options=wanted.options),
        ipv6_enabled=wanted.enable_ipv6,
        internal=wanted.internal,
        attachable=wanted.attachable,
        ingress=wanted.ingress,
        ipam_options=_ipam(wanted.ipam),
        config_from=wanted.config_from if wanted.config_from and wanted.config_from.network else None,
        scope="swarm",
    )


def _ipam(wanted: IPAM) -> IPAMOptions | None:
    driver = None
    if wanted.driver not in ("", "default") or wanted.options:
        driver = Driver(name=wanted.driver or "default", options=wanted.options)
    configs = tuple(
        IPAMConfig(
            subnet=pool.subnet,
            range=pool.ip_range,
            gateway=pool.gateway,
            auxiliary_addresses=pool.auxiliary_addresses,
        )
        for pool in wanted.config
    )
    return IPAMOptions(driver=driver, configs=configs) if driver or configs else None


def check_endpoint(wanted: EndpointSettings) -> None:
    """Raise Unsupported for what Docker would do for a container on a network and we do not."""
    given = {
        "Links": wanted.links,
        "DriverOpts": wanted.driver_opts,
        "GwPriority": wanted.gw_priority,
        "IPAMConfig.LinkLocalIPs": wanted.ipam_config is not None and wanted.ipam_config.link_local_ips,
        # Clients that connect a container again send what inspect told them: then there is an endpoint, too.
        "MacAddress": wanted.mac_address and not wanted.endpoint_id,
    }
    if names := [name for name, value in given.items() if value]:
        raise Unsupported(f"not supported yet for a container on a network: {', '.join(names)}")
