"""A worker's networking with a real host below it: what containers hold there, and when it is free again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.host import HostNetwork
from netoverlay.netns import Namespaces
from swarmcore.clock import RealClock
from swarmcore.errors import FailedPrecondition, NotFound
from swarmcore.model.endpoint import Endpoint, PortConfig, PublishMode
from swarmcore.model.network import NetworkAttachment
from swarmcore.model.overlay import NetworkTable, OverlayNetwork
from swarmcore.model.task import Task
from worker.networks.host_networks import HostNetworks, segment_of
from worker.networks.local_networks import NetworkRequest
from worker.networks.networking import SwarmNetworking
from worker.networks.spec import free_interface
from worker.tasks.container_plan import network_plan

pytestmark = pytest.mark.root
PORT = PortConfig(target_port=80, published_port=18080, publish_mode=PublishMode.HOST)


class World:
    """A host in a namespace of its own; `changes` are what the runtime was told."""

    def __init__(self, folder: Path) -> None:
        self._outer = Namespaces(folder / "outer")
        self._outer.create("host")
        self.host = HostNetwork(folder / "netns", RealClock(), home=folder / "outer" / "host")
        self.local = HostNetworks(folder / "networks.json", self.host, RealClock(), lambda: ())
        self.swarm = SwarmNetworking(self.host, self.local, lambda path: "", Random(1))
        self.changes: dict[str, SandboxSpec] = {}
        self.swarm.on_change = self.changes.__setitem__

    async def attach(self, name: str, *ports: PortConfig) -> SandboxSpec:
        task = Task(id=name, endpoint=Endpoint(ports=ports))
        found = await self.swarm.make_network(network_plan(task), name * 12, name)
        assert found.sandbox is not None
        return found.sandbox

    async def close(self) -> None:
        await self.host.forget()
        await self.host.close()
        self._outer.remove("host")
        self._outer.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.host.open()
    try:
        yield made
    finally:
        await made.close()


async def test_a_port_of_the_host_is_one_containers_until_it_is_given_back(world: World) -> None:
    first = await world.attach("a", PORT)
    with pytest.raises(FailedPrecondition, match="port 18080/tcp is already in use"):
        await world.attach("b", PORT)
    await world.swarm.release(first)
    await world.swarm.release(first)  # when it is removed
    second = await world.attach("b", PORT)
    await world.swarm.release(first)
    with pytest.raises(FailedPrecondition, match="port 18080/tcp is already in use"):
        await world.attach("c", PORT)
    await world.swarm.release(second)


async def test_addresses_of_networks_that_were_joined_later_are_given_back_too(world: World) -> None:
    made = await world.local.create(NetworkRequest(name="lan"))
    segment = segment_of(made)
    sandbox = await world.attach("a")
    join = world.local.make_join(segment, sandbox.id, "web", free_interface(sandbox))
    assert world.swarm.changed(await world.host.plug(sandbox.id, join))
    assert world.changes[sandbox.id].host_joins == (join,)
    await world.swarm.release(sandbox)  # as it was recorded before
    assert world.local.list()[0].containers == {}
    again = world.local.make_join(segment, "other", "api", "eth0", [join.addresses[0].partition("/")[0]])
    assert again.addresses == join.addresses


async def test_a_container_that_has_ended_joins_nothing(world: World) -> None:
    segment = segment_of(await world.local.create(NetworkRequest(name="lan")))
    sandbox = await world.attach("a")
    join = world.local.make_join(segment, sandbox.id, "web", free_interface(sandbox))
    await world.swarm.release(sandbox)
    with pytest.raises(NotFound):
        await world.host.plug(sandbox.id, join)
    assert not world.swarm.changed(replace(sandbox, host_joins=(join,)))
    assert world.changes == {}


async def test_a_container_that_cannot_have_all_its_networks_holds_addresses_of_none(world: World) -> None:
    lan = OverlayNetwork(id="lan1", name="lan", driver="bridge")
    lost = OverlayNetwork(id="lost1", name="lost", driver="macvlan", config_from="nowhere")
    await world.swarm.agree_with({each.id: NetworkTable(network=each) for each in (lan, lost)})
    on = tuple(NetworkAttachment(network_id=each.id) for each in (lan, lost))
    with pytest.raises(NotFound, match="configuration network nowhere"):
        plan = network_plan(Task(id="a", networks_attachments=on))
        await world.swarm.make_network(plan, "a" * 12, "a")
    segment = world.local.of_swarm(lan)
    first = segment.subnets[0].removesuffix(".0.0/16") + ".0.2"
    assert world.local.make_join(segment, "b", "b", "eth0", [first]).addresses == (f"{first}/16",)
