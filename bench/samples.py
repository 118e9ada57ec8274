"""A host, its networks and containers as values, for benchmarks without a swarm."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from netoverlay.containers.sandboxes import Join, SandboxSpec
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
    OverlaySubnet,
    endpoint_mac,
)

HERE, THERE = "here", "there"
VTEP, FAR_VTEP = "192.0.2.1", "192.0.2.2"


def address(number: int, second: int = 80) -> str:
    return f"10.{second}.{number >> 8}.{number & 255}"


def network(number: int) -> OverlayNetwork:
    subnet = OverlaySubnet(
        subnet=f"10.{80 + number}.0.0/16", gateway=f"10.{80 + number}.0.1", vni=5000 + number
    )
    return OverlayNetwork(id=f"{number:03}{uuid4().hex}", name=f"bench{number}", subnets=(subnet,))


def ingress() -> NetworkTable:
    subnets = (
        OverlaySubnet(subnet="10.0.0.0/16", gateway="10.0.0.1", vni=4096),
        OverlaySubnet(subnet="fdc0:1:2:3::/112", gateway="fdc0:1:2:3::1", vni=4096),
    )
    node = OverlayNode(id=HERE, vtep=VTEP, addresses=("10.0.0.2", "fdc0:1:2:3::2"), number=2)
    network = OverlayNetwork(id="ingress", name="ingress", ingress=True, subnets=subnets)
    return NetworkTable(network=network, revision=1, nodes={HERE: node})


def table(
    network: OverlayNetwork, endpoints: Sequence[OverlayEndpoint] = (), revision: int = 1
) -> NetworkTable:
    second = int(network.subnets[0].subnet.split(".")[1])
    return NetworkTable(
        network=network,
        revision=revision,
        nodes={HERE: OverlayNode(id=HERE, vtep=VTEP), THERE: OverlayNode(id=THERE, vtep=FAR_VTEP)},
        services={"web": OverlayService(id="web", name="web", vips=(f"10.{second}.255.1",))},
        endpoints={each.id: each for each in endpoints},
    )


def remote(network: OverlayNetwork, count: int) -> list[OverlayEndpoint]:
    second = int(network.subnets[0].subnet.split(".")[1])
    return [
        OverlayEndpoint(
            id=f"task{number:05}",
            node_id=THERE,
            name=f"web.{number}",
            service_id="web",
            addresses=(address(20_000 + number, second),),
            mac=endpoint_mac(f"task{number}", network.id),
            active=True,
        )
        for number in range(count)
    ]


def spec(number: int, *networks: OverlayNetwork, gateway: bool = True) -> SandboxSpec:
    task = uuid4().hex
    joins = tuple(
        Join(
            network_id=each.id,
            interface=f"eth{place}",
            mac=endpoint_mac(task, each.id),
            addresses=(f"{address(number + 10, int(each.subnets[0].subnet.split('.')[1]))}/16",),
        )
        for place, each in enumerate(networks)
    )
    return SandboxSpec(id=task * 2, task_id=task, hostname=task[:12], joins=joins, gateway=gateway)
