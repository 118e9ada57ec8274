"""`network connect`, `disconnect`: a container of this host and a network of it, or an attachable one of the swarm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pyswarmd.node.networks import NodeNetworks
from swarmcore.errors import NotFound
from worker.containers.container import Container
from worker.networks.local_networks import EndpointSettings
from worker.tasks.attachment_requests import AttachmentRequests


class Containers(Protocol):
    """Those of this host."""

    def find(self, text: str) -> Container:
        """By an id, the beginning of one, or a name; NotFound, or Invalid where it can mean several."""
        ...


class Connector:
    """`attachments` raises where this node is in no swarm: it is asked for networks of the swarm only."""

    def __init__(
        self, networks: NodeNetworks, containers: Containers, attachments: Callable[[], AttachmentRequests]
    ) -> None:
        self._networks, self._containers, self._attachments = networks, containers, attachments

    async def connect(self, network: str, container: str, config: EndpointSettings) -> None:
        found = self._containers.find(container)
        wanted = config.ipam_config
        addresses = [a for a in (wanted.ipv4_address, wanted.ipv6_address) if a] if wanted is not None else []
        if (segment := self._networks.local.segment(network)) is not None:
            await self._networks.connect(found, segment, addresses)
        else:
            await self._attachments().connect(network, found.record.id, found.name, addresses, config.aliases)

    async def disconnect(self, network: str, container: str, *, force: bool) -> None:
        """`force`: also where the container is gone."""
        try:
            found = self._containers.find(container)
        except NotFound:
            if force:
                return
            raise
        if (segment := self._networks.local.segment(network)) is not None:
            await self._networks.disconnect(found, segment)
        else:
            await self._attachments().disconnect(network, found.record.id)
