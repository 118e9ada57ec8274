"""What a check of a network asks of whom, of the state alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from socket import inet_ntoa

from msgspec import Struct

from manager.rules.endpoint_table import derive
from manager.store.tables import View
from netoverlay.dns.records import Names, key
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.endpoint import EndpointMode, Protocol
from swarmcore.model.network import OVERLAY, Network
from swarmcore.model.node import NodeState
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayService
from swarmcore.rpc.messages.check import CheckedNode, CheckedService

LARGE_TOTAL = 32 << 20  # bytes that one node sends in large exchanges, over all peers
LARGE_LIMITS = (256 << 10, 2 << 20)
MOST_SERVICES = 100  # whose names and addresses are looked at


class Plan(Struct, frozen=True, kw_only=True):
    """Who takes part, and what is asked of each of them."""

    network: str
    parties: tuple[CheckedNode, ...]
    names: Mapping[str, frozenset[str]]
    services: tuple[CheckedService, ...]
    port: int
    host: bool
    remarks: tuple[str, ...] = ()


def plan(view: View, network_id: str) -> Plan:
    """`network_id` empty: all hosts, over the ingress network. NotFound, or Invalid where it is no overlay."""
    network, table = _checked(view, network_id)
    host = not network_id or network.spec.ingress
    parties, remarks = _hosts(view, table) if host else _containers(view, table)
    services = [] if host else sorted(table.services.values(), key=lambda service: service.name)
    if len(services) > MOST_SERVICES:
        remarks.append(f"only {MOST_SERVICES} of {len(services)} services were looked up")
        services = services[:MOST_SERVICES]
    if len(parties) < 2:
        remarks.append(
            f"fewer than two nodes carry {network.spec.name}: there is no pair to test"
            if not host
            else "fewer than two nodes are up: there is no pair to test"
        )
    return Plan(
        network=network.spec.name,
        parties=tuple(parties),
        names={} if host else _names(table, parties, services),
        services=tuple(found for service in services for found in _virtual(service)),
        port=table.network.port,
        host=host,
        remarks=tuple(remarks),
    )


def _checked(view: View, network_id: str) -> tuple[Network, NetworkTable]:
    if wants_ingress := not network_id:
        network_id = next((n.id for n in view.networks if n.spec.ingress and not n.pending_delete), "")
    network, table = view.networks.get(network_id), derive(view, network_id)
    if network is None or table is None:
        if wants_ingress:
            raise NotFound(
                "the swarm has no ingress network",
                'make one with "pyswarm network create -d overlay --ingress ingress", or name a network',
            )
        raise NotFound(f"network {network_id} not found")
    if network.spec.driver != OVERLAY:
        raise Invalid(
            f"network {network.spec.name} is of the driver {network.spec.driver}: every host has its own",
            "name an overlay network",
        )
    return network, table


def _hosts(view: View, table: NetworkTable) -> tuple[list[CheckedNode], list[str]]:
    parties, remarks = [], []
    for node in sorted(view.nodes, key=lambda node: _name(view, node.id)):
        name = _name(view, node.id)
        known = table.nodes.get(node.id)
        if node.status.state is NodeState.DOWN:
            remarks.append(f"{name} is down: not tested")
        elif known is None:
            remarks.append(f"{name} has no address on the ingress network yet: not tested")
        else:
            parties.append(
                CheckedNode(node_id=node.id, name=name, vtep=known.vtep, addresses=known.addresses)
            )
    return parties, remarks


def _containers(view: View, table: NetworkTable) -> tuple[list[CheckedNode], list[str]]:
    """One running container on each node that carries the network."""
    chosen: dict[str, OverlayEndpoint] = {}
    for endpoint in sorted(table.endpoints.values(), key=lambda endpoint: endpoint.id):
        if endpoint.active:
            chosen.setdefault(endpoint.node_id, endpoint)
    parties = [
        CheckedNode(
            node_id=node_id,
            name=_name(view, node_id),
            vtep=table.nodes[node_id].vtep if node_id in table.nodes else "",
            addresses=endpoint.addresses,
            task_id=endpoint.id,
        )
        for node_id, endpoint in chosen.items()
    ]
    remarks = [
        f"{_name(view, node_id)} carries {table.network.name}, but none of its containers there runs yet: not tested"
        for node_id in sorted({e.node_id for e in table.endpoints.values()} - set(chosen))
    ]
    return sorted(parties, key=lambda party: (party.name, party.node_id)), remarks


def _name(view: View, node_id: str) -> str:
    node = view.nodes.get(node_id)
    described = node.description.hostname if node is not None and node.description is not None else ""
    return described or node_id[:12]


def _names(
    table: NetworkTable, parties: Sequence[CheckedNode], services: Sequence[OverlayService]
) -> dict[str, frozenset[str]]:
    """Names and the IPv4 addresses that they stand for.

    They are asked for with the network's name behind: a container may be on others, where they mean something else.
    """
    known = Names(table).addresses
    plain = [name for service in services for name in (service.name, f"tasks.{service.name}")]
    plain += [table.endpoints[party.task_id].name for party in parties]
    return {
        f"{name}.{table.network.name}": frozenset(
            inet_ntoa(address) for address in known.get(key(name), ()) if len(address) == 4
        )
        for name in plain
    }


def _virtual(service: OverlayService) -> list[CheckedService]:
    port = next((p.target_port for p in service.ports if p.protocol is Protocol.TCP and p.target_port), 0)
    vips = service.vips if service.mode is EndpointMode.VIP else ()
    return [CheckedService(name=service.name, vip=vip, port=port) for vip in vips]


def large_exchange(peers: int) -> int:
    """How many bytes a large exchange has with each of so many peers: a big swarm is not to fill its links."""
    least, most = LARGE_LIMITS
    return max(least, min(most, LARGE_TOTAL // max(peers, 1)))
