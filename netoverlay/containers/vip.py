"""Which addresses each virtual IP of a network leads to, taken from endpoint tables. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec import Struct

from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.overlay import NetworkTable


class VirtualService(Struct, frozen=True, kw_only=True):
    """One VIP of a service (bare address) and the addresses, of its family, that take its new connections."""

    service_id: str
    name: str
    vip: str
    targets: tuple[str, ...]


class NetworkBalancing(Struct, frozen=True, kw_only=True):
    network_id: str
    services: tuple[VirtualService, ...]


class Balancing(Struct, frozen=True, kw_only=True):
    """For one set of networks. Those that did not change are the same objects as in earlier values."""

    networks: tuple[NetworkBalancing, ...] = ()


# The last answer for each network: containers that share networks share its value, and what is made of it.
_latest: dict[str, tuple[NetworkTable, NetworkBalancing]] = {}
_MOST = 1024


def balancing(tables: Mapping[str, NetworkTable], network_ids: Iterable[str]) -> Balancing:
    """For a container on these networks. Networks without a table are left out: nothing is known of them."""
    found = (tables.get(each) for each in sorted(set(network_ids)))
    return Balancing(networks=tuple(_of_network(table) for table in found if table is not None))


def _of_network(table: NetworkTable) -> NetworkBalancing:
    before = _latest.get(table.network.id)
    if before is not None and before[0] is table:
        return before[1]
    made = of_network(table)
    if before is not None and before[1] == made:
        made = before[1]
    if len(_latest) >= _MOST:
        _latest.clear()
    _latest[table.network.id] = (table, made)
    return made


def of_network(table: NetworkTable) -> NetworkBalancing:
    """The same table always gives the same value; targets are in the order of their endpoints' ids."""
    targets: defaultdict[str, list[str]] = defaultdict(list)
    for _, endpoint in sorted(table.endpoints.items()):
        if endpoint.active and endpoint.service_id:
            targets[endpoint.service_id] += endpoint.addresses
    services: list[VirtualService] = []
    for _, service in sorted(table.services.items()):
        if service.mode is not EndpointMode.VIP:
            continue
        for vip in service.vips:
            same_family = tuple(each for each in targets[service.id] if (":" in each) == (":" in vip))
            services.append(
                VirtualService(service_id=service.id, name=service.name, vip=vip, targets=same_family)
            )
    return NetworkBalancing(network_id=table.network.id, services=tuple(services))
