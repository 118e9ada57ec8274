"""Published ports as values: which replicas each leads to, which are refused, who may be reached. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import NamedTuple

from msgspec import Struct

from swarmcore.model.endpoint import PortConfig, Protocol, PublishMode
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayService


class Port(NamedTuple):
    """A port of this host."""

    protocol: Protocol
    number: int


class Balanced(Struct, frozen=True, kw_only=True):
    """Where new connections to one published port go: the replicas' addresses of both families, and their port.

    `virtual` are addresses of the service that answer like every node.
    """

    service: str
    target_port: int
    targets4: tuple[str, ...] = ()
    targets6: tuple[str, ...] = ()
    virtual: tuple[str, ...] = ()


class Forwarded(Struct, frozen=True, kw_only=True):
    """Where connections to a port that is published in mode host go; an empty address: not in that family."""

    target_port: int
    address4: str = ""
    address6: str = ""


class Way(Struct, frozen=True, kw_only=True):
    """One container's wire to the host: the host's `device`, and the container's addresses at the other end.

    `open`: it may begin connections to the outside. `outsider` addresses are not of the ingress network, and no
    other host knows them.
    """

    device: str
    addresses: tuple[str, ...] = ()
    outsider: tuple[str, ...] = ()
    open: bool = True
    host_ports: tuple[PortConfig, ...] = ()


class Ports(Struct, frozen=True, kw_only=True):
    """`refused` have no replica to lead to, here; nor have these ports of the virtual addresses in `unserved`.
    `reachable` are (address, protocol, port) of this host's replicas
    that other nodes lead to. `nodes` are addresses of nodes, by number where they send over the ingress network."""

    balanced: Mapping[Port, Balanced] = {}
    refused: frozenset[Port] = frozenset()
    unserved: frozenset[tuple[str, Port]] = frozenset()
    reachable: frozenset[tuple[str, Protocol, int]] = frozenset()
    numbers: frozenset[int] = frozenset()
    nodes: frozenset[str] = frozenset()
    own: tuple[str, ...] = ()


def ports(table: NetworkTable | None, node_id: str) -> Ports:
    """For the node `node_id`; the same table always gives the same value."""
    if table is None:
        return Ports()
    by_service: defaultdict[str, list[OverlayEndpoint]] = defaultdict(list)
    for _, endpoint in sorted(table.endpoints.items()):
        by_service[endpoint.service_id].append(endpoint)
    balanced: dict[Port, Balanced] = {}
    refused: set[Port] = set()
    unserved: set[tuple[str, Port]] = set()
    reachable: set[tuple[str, Protocol, int]] = set()
    for _, service in sorted(table.services.items()):
        for port in published(service):
            found = _balanced(service, port, by_service[service.id], node_id)
            key = Port(port.protocol, port.published_port)
            if found.targets4 or found.targets6:
                balanced.setdefault(key, found)
            else:
                refused.add(key)
            if balanced.get(key) is not found:
                unserved |= {(address, key) for address in service.vips}
            here = (each for each in by_service[service.id] if each.node_id == node_id)
            reachable |= {
                (address, port.protocol, port.target_port) for each in here for address in each.addresses
            }
    own = table.nodes.get(node_id)
    others = [node for node in table.nodes.values() if node.id != node_id]
    return Ports(
        balanced=balanced,
        refused=frozenset(refused - balanced.keys()),
        unserved=frozenset(unserved),
        reachable=frozenset(reachable),
        numbers=frozenset(node.number for node in others if node.number),
        nodes=frozenset(
            address
            for node in others
            for address in (node.vtep, *node.addresses, *node.host_addresses)
            if address
        ),
        own=own.addresses if own is not None else (),
    )


def published(service: OverlayService) -> list[PortConfig]:
    """The ports that every node answers for it."""
    return [
        port
        for port in service.ports
        if port.publish_mode is PublishMode.INGRESS and port.published_port and port.target_port
    ]


def _balanced(
    service: OverlayService, port: PortConfig, endpoints: Iterable[OverlayEndpoint], node_id: str
) -> Balanced:
    """A service that is `local_only` leads to replicas of the asked node: whoever balances in front of the nodes
    sees a closed port where there is none."""
    addresses = [
        address
        for each in endpoints
        if each.active and (each.node_id == node_id or not service.local_only)
        for address in each.addresses
    ]
    return Balanced(
        service=service.name,
        target_port=port.target_port,
        targets4=tuple(each for each in addresses if ":" not in each),
        targets6=tuple(each for each in addresses if ":" in each),
        virtual=service.vips,
    )


def gone(before: NetworkTable | None, after: NetworkTable | None) -> frozenset[str]:
    """Addresses of endpoints that are no more. One that only drains keeps its connections."""
    if before is None:
        return frozenset()
    left = after.endpoints if after is not None else {}
    return frozenset(
        address for each in before.endpoints.values() if each.id not in left for address in each.addresses
    )


def fresh(before: Ports, after: Ports) -> frozenset[int]:
    """UDP ports that lead somewhere and did not before."""
    found = after.balanced.keys() - before.balanced.keys()
    return frozenset(each.number for each in found if each.protocol is Protocol.UDP)


def host_ports(ways: Iterable[Way]) -> dict[Port, Forwarded]:
    """What containers publish on this host alone; of two that want the same port, the first."""
    found: dict[Port, Forwarded] = {}
    for way in ways:
        for port in way.host_ports:
            if port.published_port and port.target_port:
                address4, address6 = of_family(way.addresses, 4), of_family(way.addresses, 6)
                found.setdefault(
                    Port(port.protocol, port.published_port),
                    Forwarded(target_port=port.target_port, address4=address4, address6=address6),
                )
    return found


def of_family(addresses: Iterable[str], version: int) -> str:
    """The first address of IP version 4 or 6, empty without one."""
    return next((each for each in addresses if ip_address(each).version == version), "")
