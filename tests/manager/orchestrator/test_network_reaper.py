"""Removed networks go with the last task on them, whoever leads then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from manager.manager import own_loops
from manager.orchestrator.network_reaper import NetworkReaper
from swarmcore.aio import owned
from swarmcore.ids import new_id
from swarmcore.model.network import Network, NetworkAttachment, NetworkSpec
from swarmcore.model.node import NodeState, NodeStatus
from swarmcore.model.task import Task, TaskState, TaskStatus
from swarmcore.rpc.messages.control import CreateNetwork, RemoveNetwork, RemoveService
from tests.manager.control.bench import Bench

S = TaskState


def ending(task_id: str) -> Task:
    return Task(
        id=task_id,
        service_id="gone",
        node_id="n1",
        desired_state=S.REMOVE,
        status=TaskStatus(state=S.RUNNING),
        networks_attachments=(NetworkAttachment(network_id="net"),),
    )


@pytest.fixture
async def bench() -> Bench:
    bench = await Bench().begin()
    await bench.node("n1")
    async with bench.store.update() as tx:
        tx.tasks.put(ending("t1"))
        tx.tasks.put(ending("t2"))
        tx.networks.put(Network(id="net", spec=NetworkSpec(name="shop"), pending_delete=True))
        tx.networks.put(Network(id="kept", spec=NetworkSpec(name="shop")))
    return bench


async def end_tasks(bench: Bench) -> None:
    """As the agents do: what shall be removed ends."""
    async with bench.store.update() as tx:
        for task in tx.tasks:
            if task.desired_state is S.REMOVE and not task.status.state.is_final:
                tx.tasks.put(replace(task, status=TaskStatus(state=S.SHUTDOWN)))


async def settled(bench: Bench) -> set[str]:
    """Which networks are left once the loop has nothing to do."""
    for _ in range(50):
        await asyncio.sleep(0)
    return {network.id for network in bench.store.view().networks}


async def end(bench: Bench, task_id: str) -> None:
    async with bench.store.update() as tx:
        task = tx.tasks.get(task_id)
        assert task is not None
        tx.tasks.put(replace(task, status=TaskStatus(state=S.SHUTDOWN)))


async def test_a_network_goes_with_its_last_task(bench: Bench) -> None:
    async with owned(NetworkReaper(bench.store, bench.clock).run(), "reaper"):
        assert await settled(bench) == {"net", "kept"}
        await end(bench, "t1")
        assert await settled(bench) == {"net", "kept"}
        async with bench.store.update() as tx:
            tx.tasks.delete("t2")
        assert await settled(bench) == {"kept"}


async def test_a_new_leader_finds_what_is_left_to_do(bench: Bench) -> None:
    await end(bench, "t1")
    await end(bench, "t2")
    async with owned(NetworkReaper(bench.store, bench.clock).run(), "reaper"):
        assert await settled(bench) == {"kept"}


async def test_a_node_that_died_holds_no_network(bench: Bench) -> None:
    async with owned(NetworkReaper(bench.store, bench.clock).run(), "reaper"):
        async with bench.store.update() as tx:
            node = tx.nodes.get("n1")
            assert node is not None
            tx.nodes.put(replace(node, status=NodeStatus(state=NodeState.DOWN)))
        assert await settled(bench) == {"kept"}


async def test_a_network_that_is_removed_later_goes_as_well(bench: Bench) -> None:
    async with owned(NetworkReaper(bench.store, bench.clock).run(), "reaper"):
        async with bench.store.update() as tx:
            kept = tx.networks.get("kept")
            assert kept is not None
            tx.networks.put(replace(kept, pending_delete=True))
        assert await settled(bench) == {"net"}


async def test_services_and_their_network_are_removed_in_one_breath() -> None:
    bench = await Bench().begin()
    await bench.node("n1")
    loops = own_loops(bench.store, bench.clock, new_id)
    async with AsyncExitStack() as running:
        for factory in loops:
            await running.enter_async_context(owned(factory().run(), "loop"))
        await bench.network("shop")
        await bench.create(TaskTemplate={"Networks": [{"Target": "shop"}]})

        def placed() -> list[Task]:
            return [t for t in bench.store.view().tasks if t.status.state is S.ASSIGNED]

        await until(lambda: bool(placed()))
        (task,) = placed()
        assert [a.network_id for a in task.networks_attachments] == ["net-shop"]
        await bench.control.carry_out(RemoveService(id="web"))
        await bench.control.carry_out(RemoveNetwork(id="shop"))
        (pending,) = [n for n in bench.store.view().networks if n.pending_delete]
        assert pending.driver_state is not None
        again = CreateNetwork(id="again", spec=NetworkSpec(name="shop"))
        await bench.control.carry_out(again)
        await until(lambda: all(t.desired_state is S.REMOVE for t in bench.store.view().tasks))
        assert "net-shop" in bench.store.view().networks
        await end_tasks(bench)
        await until(lambda: "net-shop" not in bench.store.view().networks)
        assert "again" in bench.store.view().networks


async def until(met: Callable[[], bool]) -> None:
    for _ in range(2000):
        if met():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to that")
