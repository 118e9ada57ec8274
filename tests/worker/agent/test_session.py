"""One session with the leader: heartbeats, network updates, what changes while it is open."""

from __future__ import annotations

from swarmcore.model.node import NodeDescription, NodeRole
from swarmcore.model.overlay import OverlayEndpoint, OverlayNetwork
from swarmcore.rpc.messages.networks import NetworkDelta, NetworksApplied
from swarmcore.rpc.messages.session import (
    DescriptionUpdate,
    Heartbeat,
)
from tests.worker.agent.conftest import Host, Leader, S
from tests.worker.sample import task, until


async def test_the_agent_beats_and_reports_role_changes(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.info(period=0.01, role=NodeRole.MANAGER)
        await until(lambda: len(host.nodes) == 2)
        assert host.nodes[1].role is NodeRole.MANAGER
        await leader.info(period=0.01, role=NodeRole.MANAGER)
        await until(lambda: len(leader.got(Heartbeat)) >= 1)
    assert len(host.nodes) == 2


async def test_the_leaders_time_reaches_the_daemon(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.end.send(Heartbeat(time=1930000000.5))
        await until(lambda: host.times == [1930000000.5])


async def test_a_shorter_heartbeat_counts_from_when_it_is_told(host: Host) -> None:
    async with host.agent():
        _, end = await host.session()
        leader = Leader(end)
        await leader.open(period=600.0)
        host.tasks.start(leader.listen(), "leader")
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)  # the session is in full swing
        await leader.info(period=0.02)
        await until(lambda: len(leader.got(Heartbeat)) >= 3)


async def test_a_changed_description_is_told(host: Host) -> None:
    async with host.agent(describe_period=0.01):
        leader = await host.leader()
        host.description = NodeDescription(hostname="renamed")
        await until(lambda: leader.got(DescriptionUpdate))
        assert leader.got(DescriptionUpdate)[0].description.hostname == "renamed"
    assert len(leader.got(DescriptionUpdate)) == 1


def shop(*names: str, reset: bool = True) -> NetworkDelta:
    return NetworkDelta(
        network_id="shop",
        reset=reset,
        network=OverlayNetwork(id="shop", name="shop") if reset else None,
        endpoints=tuple(OverlayEndpoint(id=name, node_id="n1", name=name) for name in names),
    )


async def test_network_updates_are_applied_together_and_confirmed(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        host.networks.open.clear()
        await leader.tell_networks(shop("a"), full=True, more=True)
        await leader.tell_networks(shop("b", reset=False))
        await leader.full(task("t1"))
        # The assignment does not wait for the kernel, but the tables it needs are known.
        await until(lambda: host.executor.running == {"t1"})
        assert set(host.networks.hearsay["shop"].endpoints) == {"a", "b"}
        await leader.tell_networks(shop("c", reset=False))
        await leader.tell_networks(shop("d", reset=False))
        await until(lambda: len(host.networks.hearsay["shop"].endpoints) == 4)
        assert leader.got(NetworksApplied) == []
        host.networks.open.set()
        await until(lambda: NetworksApplied(number=4) in leader.got(NetworksApplied))
        assert host.networks.tables["shop"].revision == 7
        assert host.networks.applications == 2


async def test_a_gap_in_network_updates_reopens_the_session(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.tell_networks(shop("a"), full=True)
        leader.network_number += 1
        await leader.tell_networks(shop("b", reset=False))
        again = await host.leader()
        await again.tell_networks(shop("c"), full=True)
        await until(lambda: again.got(NetworksApplied) == [NetworksApplied(number=1)])
        assert set(host.networks.tables["shop"].endpoints) == {"c"}


async def test_an_update_of_a_network_that_was_never_told_reopens_the_session(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.tell_networks(full=True)
        await leader.tell_networks(shop("a", reset=False))
        again = await host.leader()
        await again.tell_networks(shop("a"), full=True)
        await until(lambda: "shop" in host.networks.tables)
