"""Nodes whose hosts are in the way of the swarm's networks: room is made, or they are refused."""

from __future__ import annotations

import pytest

from manager.membership.room import make_room
from swarmcore.errors import FailedPrecondition
from swarmcore.model.network import IPAMConfig, Network
from swarmcore.model.node import Node, NodeDescription
from tests.fakes.virtual_time import run_virtual
from tests.manager.allocator.world import World, cluster, network, node, port, service, task


async def join(world: World, new: Node) -> None:
    """As the CA does."""
    async with world.store.update() as tx:
        make_room(tx, tx.nodes.put(new))
    await world.settle()


def behind(id: str, *routes: str) -> Node:
    return Node(id=id, description=NodeDescription(hostname=f"host-{id}", host_routes=routes))


def test_networks_are_made_around_the_first_hosts_addresses_and_routes() -> None:
    async def story() -> None:
        world = World()
        first = Node(
            id="n1",
            description=NodeDescription(
                host_subnets=("10.0.0.1/24", "fd77::1/64"), host_routes=("10.0.16.0/20", "10.0.48.0/24")
            ),
        )
        await world.put(cluster(), first)
        async with world.allocating():
            assert world.subnets(world.ingress().id)[0] == "10.0.32.0/20"
            await world.put(*(network(f"net{n}") for n in range(20)))
            taken = [world.subnets(f"net{n}")[0] for n in range(20)]
            assert taken == [f"10.0.{n}.0/24" for n in (*range(1, 16), *range(49, 54))]

    run_virtual(story())


def test_behind_a_wide_route_is_the_last_choice() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster("10.0.0.0/8", "172.16.0.0/12"), behind("n1", "10.0.0.0/8"))
        async with world.allocating():
            assert world.subnets(world.ingress().id)[0] == "172.16.0.0/20"
        lonely = World()
        await lonely.put(cluster("10.0.0.0/8"), behind("n1", "10.0.0.0/8"))
        async with lonely.allocating():
            assert lonely.subnets(lonely.ingress().id)[0] == "10.0.0.0/20"

    run_virtual(story())


def test_unused_networks_move_for_a_node_and_all_nodes_with_them() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), node("n1", "192.168.7.1/24"))
        async with world.allocating():
            await world.put(network("idle"), network("far", "10.99.0.0/24"))
            ingress = world.ingress().id
            assert (world.subnets(ingress)[0], world.subnets("idle")) == ("10.0.0.0/20", ["10.0.16.0/24"])
            await join(world, node("n2", "10.0.1.5/24", "10.0.16.9/24"))
            assert (world.subnets(ingress)[0], world.subnets("idle")) == ("10.0.32.0/20", ["10.0.0.0/24"])
            assert world.subnets("far") == ["10.99.0.0/24"]
            for name in ("n1", "n2"):
                ((v4, _),) = [a.addresses for a in world.node(name).attachments]
                assert v4.startswith("10.0.32."), (name, v4)
            web = service("web", ports=[port(80, 8080)])
            await world.put(web)
            await world.put(task("t1", world.service("web")))
            assert world.addresses("t1")[ingress][0].startswith("10.0.32.")

    run_virtual(story())


def _user(world: World) -> Network:
    return network("mine", IPAMConfig(subnet="10.0.1.0/24"))


@pytest.mark.parametrize("used_by", ["service", "task", "user", "ingress"])
def test_a_node_in_the_way_of_a_network_in_use_is_refused_and_changes_nothing(used_by: str) -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), node("n1", "10.0.0.1/24"))
        async with world.allocating():
            await world.put(network("shop"))
            name, subnet = "net-shop", world.subnets("shop")[0]
            assert subnet == "10.0.1.0/24"
            if used_by == "service":
                await world.put(service("web", ["shop"]))
            elif used_by == "task":
                await world.put(task("t1", networks=["shop"]))
            elif used_by == "user":
                await world.remove("shop")
                await world.put(_user(world))
                name = "net-mine"
            else:
                await world.put(service("web", ports=[port(80)]))
                name, subnet = "ingress", "10.0.16.0/20"
            before = world.view
            with pytest.raises(FailedPrecondition) as refused:
                await join(world, node("n2", "10.0.17.5/24" if used_by == "ingress" else "10.0.1.5/24"))
            assert f"overlaps with subnet {subnet} of network {name}" in str(refused.value)
            assert "--default-addr-pool" in refused.value.hint
            assert world.view.index == before.index

    run_virtual(story())


def test_a_node_is_refused_where_the_pools_leave_no_room_to_move_to() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster("10.0.0.0/24", size=26), node("n1", "10.0.0.1/26"))
        async with world.allocating():
            assert world.subnets(world.ingress().id)[0] == "10.0.0.64/26"
            with pytest.raises(FailedPrecondition, match=r"10\.0\.0\.0/24 overlaps .* of network ingress"):
                await join(world, node("n2", "10.0.0.2/24"))

    run_virtual(story())


def test_one_more_host_in_a_subnet_that_a_user_chose_there_is_let_in() -> None:
    async def story() -> None:
        world = World()
        await world.put(cluster(), node("n1", "10.0.1.1/24"), _user(world), service("web", ["mine"]))
        async with world.allocating():
            await join(world, node("n2", "10.0.1.2/24"))
            assert world.node("n2").attachments

    run_virtual(story())
