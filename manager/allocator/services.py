"""Endpoints of services: their virtual addresses and published ports."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from manager.allocator.addresses import Addresses
from manager.allocator.ports import Ports
from manager.allocator.waiting import INGRESS, Waits, network_key
from manager.rules.network_plan import is_allocated, is_overlay
from manager.store.tables import Reader, Tables
from swarmcore.model.endpoint import Endpoint, EndpointMode, EndpointSpec, VirtualIP
from swarmcore.model.network import PREDEFINED, Network, NetworkAttachmentConfig
from swarmcore.model.service import Service, ServiceSpec


def endpoint_spec(service: Service) -> EndpointSpec:
    return service.spec.endpoint_spec or EndpointSpec()


def wanted_networks(spec: ServiceSpec) -> tuple[NetworkAttachmentConfig, ...]:
    """Those of its tasks; before API 1.44 they were the service's own."""
    return spec.task_template.networks or spec.networks


def resolved(
    wanted: Iterable[NetworkAttachmentConfig], networks: Reader[Network]
) -> list[tuple[NetworkAttachmentConfig, Network]]:
    """The swarm's networks among them, each once, all of them ready. Raises Waits."""
    found: dict[str, tuple[NetworkAttachmentConfig, Network]] = {}
    for config in wanted:
        if config.target in PREDEFINED:
            continue
        network = networks.get(config.target)
        if network is None:
            raise Waits(network_key(config.target), f"network {config.target} not found")
        if not is_allocated(network):
            raise Waits(network_key(network.id), f"network {network.spec.name} has no subnet yet")
        found.setdefault(network.id, (config, network))
    return list(found.values())


def publishes(service: Service) -> bool:
    """Whether its tasks must be reachable over the routing mesh."""
    return endpoint_spec(service).uses_ingress


def is_settled(service: Service, tables: Tables, ingress: Network | None) -> bool:
    """Its endpoint is what its spec asks for."""
    endpoint, spec = service.endpoint, endpoint_spec(service)
    if endpoint is None or endpoint.spec != spec:
        return False
    try:
        networks = _networks(service, tables, ingress)
    except Waits:
        return False
    return {vip.network_id for vip in endpoint.virtual_ips} == _with_vips(spec, networks)


def _networks(service: Service, tables: Tables, ingress: Network | None) -> list[Network]:
    """All that it is on, ready; the ingress network if it publishes ports there. Raises Waits."""
    found = [network for _, network in resolved(wanted_networks(service.spec), tables.networks)]
    if publishes(service):
        if ingress is None:
            raise Waits(INGRESS, "the swarm has no ingress network")
        if not is_allocated(ingress):
            raise Waits(network_key(ingress.id), f"network {ingress.spec.name} has no subnet yet")
        found.append(ingress)
    return found


def endpoint_for(
    service: Service, tables: Tables, ingress: Network | None, addresses: Addresses, ports: Ports
) -> Endpoint:
    """Its whole endpoint; addresses are taken at once. Raises Waits, and has taken nothing then."""
    spec = endpoint_spec(service)
    networks = _networks(service, tables, ingress)
    chosen = ports.choose(service, tables.services)
    kept = _kept(service, _with_vips(spec, networks), addresses)
    on = {vip.network_id for vip in kept}
    missing = [id for id in sorted(_with_vips(spec, networks)) if id not in on]
    for network_id in missing:
        addresses.check_room(network_id)
    new = [
        VirtualIP(network_id=network_id, addr=address)
        for network_id in missing
        for address in addresses.give_out(network_id, service.id)
    ]
    return Endpoint(spec=spec, ports=chosen, virtual_ips=(*kept, *new))


def reduced(service: Service, ingress: Network | None, addresses: Addresses) -> Endpoint | None:
    """What the service keeps while its spec cannot be met: not the addresses that it has given up."""
    if service.endpoint is None:
        return None
    wanted = {config.target for config in wanted_networks(service.spec)}
    if ingress is not None and publishes(service):
        wanted.add(ingress.id)
    if endpoint_spec(service).mode is not EndpointMode.VIP:
        wanted = set()
    return replace(service.endpoint, virtual_ips=_kept(service, wanted, addresses))


def _with_vips(spec: EndpointSpec, networks: Iterable[Network]) -> frozenset[str]:
    if spec.mode is not EndpointMode.VIP:
        return frozenset()
    return frozenset(network.id for network in networks if is_overlay(network.spec))


def _kept(service: Service, wanted: Iterable[str], addresses: Addresses) -> tuple[VirtualIP, ...]:
    vips = service.endpoint.virtual_ips if service.endpoint is not None else ()
    wanted = set(wanted)
    return tuple(
        vip
        for vip in vips
        if vip.network_id in wanted and addresses.holds(vip.network_id, (vip.addr,), service.id)
    )
