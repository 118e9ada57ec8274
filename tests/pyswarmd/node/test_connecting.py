"""A container joins a network of its host where that has one of this name, else one of the swarm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pyswarmd.node.connecting import Connector
from swarmcore.errors import NotFound, NotInSwarm
from worker.networks.local_networks import EndpointIPAM, EndpointSettings

FOUND = SimpleNamespace(record=SimpleNamespace(id="c1"), name="web")
WISH = EndpointSettings(aliases=("db",), ipam_config=EndpointIPAM(ipv4_address="10.0.0.9"))


class Host:
    """One container, one network, and whoever is asked to join."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.in_swarm = True
        self.local = SimpleNamespace(segment=lambda name: "lan's segment" if name == "lan" else None)

    def find(self, text: str) -> Any:
        if text != "web":
            raise NotFound(f"No such container: {text}")
        return FOUND

    def attachments(self) -> Any:
        if not self.in_swarm:
            raise NotInSwarm("This node is not part of a swarm")
        return self

    async def connect(self, *what: Any) -> None:
        self.asked.append(("connect", *what))

    async def disconnect(self, *what: Any) -> None:
        self.asked.append(("disconnect", *what))


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def connector(host: Host) -> Connector:
    return Connector(host, host, host.attachments)  # type: ignore[arg-type]


async def test_a_network_of_the_host_needs_no_swarm(host: Host, connector: Connector) -> None:
    host.in_swarm = False
    await connector.connect("lan", "web", WISH)
    await connector.disconnect("lan", "web", force=False)
    assert host.asked == [
        ("connect", FOUND, "lan's segment", ["10.0.0.9"]),
        ("disconnect", FOUND, "lan's segment"),
    ]
    with pytest.raises(NotInSwarm):
        await connector.connect("shop", "web", WISH)


async def test_any_other_is_asked_of_the_swarm(host: Host, connector: Connector) -> None:
    await connector.connect("shop", "web", WISH)
    await connector.disconnect("shop", "web", force=False)
    assert host.asked == [
        ("connect", "shop", "c1", "web", ["10.0.0.9"], ("db",)),
        ("disconnect", "shop", "c1"),
    ]


async def test_only_force_lets_a_container_leave_that_is_gone(host: Host, connector: Connector) -> None:
    await connector.disconnect("lan", "gone", force=True)
    with pytest.raises(NotFound):
        await connector.disconnect("lan", "gone", force=False)
    assert host.asked == []
