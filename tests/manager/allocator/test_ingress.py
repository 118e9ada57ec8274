"""The ingress network: when it is made, and the address that each node has on it."""

from __future__ import annotations

import pytest

from manager.allocator.addresses import usage
from tests.fakes.virtual_time import run_virtual
from tests.manager.allocator.world import World, cluster, network, node, port, service, task


def test_the_ingress_network_is_made_once_and_first_and_with_ipv6() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), network("shop"))
        async with world.allocating():
            found = world.ingress()
            assert found.spec.name == "ingress"
            v4, v6 = world.subnets(found.id)
            assert (v4, world.subnets("shop")) == ("10.0.0.0/20", ["10.0.16.0/24"])
            assert v6.startswith("fd")
            assert v6.endswith("/64")
        async with world.allocating():
            assert world.ingress() == found

    run_virtual(story())


def test_a_swarm_that_begins_while_its_leader_runs_gets_its_ingress_network() -> None:
    async def story() -> None:
        world = World()
        async with world.allocating():
            assert not list(world.view.networks)
            await world.put(cluster(), node("n1"))
            assert world.subnets(world.ingress().id)[0] == "10.0.0.0/20"
            (attachment,) = world.node("n1").attachments
            assert attachment.network_id == world.ingress().id
            assert [a.partition("/")[2] for a in attachment.addresses] == ["20", "64"]

    run_virtual(story())


@pytest.mark.parametrize(
    ("pool", "size", "expected"),
    [("10.0.0.0/8", 24, 20), ("10.0.0.0/20", 24, 24), ("10.0.0.0/24", 26, 26), ("10.0.0.0/8", 16, 20)],
)
def test_the_ingress_network_does_not_spend_a_small_pool(pool: str, size: int, expected: int) -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(pool, size=size))
        async with world.allocating():
            assert world.subnets(world.ingress().id)[0] == f"10.0.0.0/{expected}"

    run_virtual(story())


def test_a_removed_ingress_network_leaves_the_nodes_and_comes_back_when_a_port_is_published() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), node("n1"))
        async with world.allocating():
            await world.remove(world.ingress().id)
            assert not list(world.view.networks)
            assert world.node("n1").attachments == ()
            published = service("s1", ports=[port(80)])
            await world.put(published, task("t1", published))
            assert len(world.node("n1").attachments) == 1
            assert list(world.addresses("t1")) == [world.ingress().id]

    run_virtual(story())


def test_a_users_own_ingress_network_is_taken_instead() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), node("n1"))
        async with world.allocating():
            await world.remove(world.ingress().id)
            await world.put(network("mine", "10.99.0.0/16", ingress=True))
            assert world.ingress().id == "mine"
            assert [a.addresses for a in world.node("n1").attachments] == [("10.99.0.2/16",)]

    run_virtual(story())


def test_nodes_that_come_get_an_address_and_those_that_go_give_it_back() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster())
        async with world.allocating():
            await world.put(*(node(f"n{i}") for i in range(3)))
            ingress = world.ingress().id
            assert [u.used for u in usage(world.view, ingress)] == [3, 3]
            first = world.node("n0").attachments
            await world.remove("n0")
            assert [u.used for u in usage(world.view, ingress)] == [2, 2]
            await world.put(node("n9"))
            assert world.node("n9").attachments != first

    run_virtual(story())
