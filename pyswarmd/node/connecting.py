"""`network connect`, `disconnect`: a container of this host and a network of it, or an attachable one of the swarm."""

from __future__ import annotations

from collections.abc import Callable

from pyswarmd.node.networks import NodeNetworks
from worker.containers.container import Container
from worker.networks.local_networks import EndpointSettings
from worker.tasks.attachments import Attachments


async def connect(
    networks: NodeNetworks,
    attachments: Callable[[], Attachments],
    found: Container,
    network: str,
    config: EndpointSettings,
) -> None:
    """`attachments` raises where this node is in no swarm: it is asked for networks of the swarm only."""
    wanted = config.ipam_config
    addresses = [a for a in (wanted.ipv4_address, wanted.ipv6_address) if a] if wanted is not None else []
    if (segment := networks.local.segment(network)) is not None:
        await networks.connect(found, segment, addresses)
    else:
        await attachments().connect(network, found.record.id, found.name, addresses, config.aliases)


async def disconnect(
    networks: NodeNetworks, attachments: Callable[[], Attachments], found: Container, network: str
) -> None:
    if (segment := networks.local.segment(network)) is not None:
        await networks.disconnect(found, segment)
    else:
        await attachments().disconnect(network, found.record.id)
