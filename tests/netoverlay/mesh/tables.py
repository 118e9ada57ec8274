"""Tables of the ingress network, as values."""

from __future__ import annotations

from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNode
from tests.netoverlay.mesh.hosts import ingress_network, service


def node(number: int) -> OverlayNode:
    return OverlayNode(
        id=f"n{number}",
        vtep=f"192.0.2.{number}",
        number=number,
        addresses=(f"10.0.0.{number}", f"fdc0:1:2:3::{number:x}"),
    )


def endpoint(place: int, on: int, active: bool = True) -> OverlayEndpoint:
    return OverlayEndpoint(
        id=f"t{place}",
        node_id=f"n{on}",
        name=f"web.{place}",
        service_id="web",
        addresses=(f"10.0.0.{place}", f"fdc0:1:2:3::{place:x}"),
        active=active,
    )


def table(*endpoints: OverlayEndpoint, local_only: bool = False, nodes: int = 3) -> NetworkTable:
    return NetworkTable(
        network=ingress_network(),
        nodes={each.id: each for each in map(node, range(1, nodes + 1))},
        services={"web": service(local_only=local_only)},
        endpoints={each.id: each for each in endpoints},
    )
