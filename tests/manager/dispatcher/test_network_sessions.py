"""What sessions say of networks, in which order, and when tasks hear that they shall stop; in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from manager.dispatcher.endpoints import EndpointTables
from manager.dispatcher.network_streams import NetworkStream
from swarmcore.model.base import Driver, Object
from swarmcore.model.network import IPAMConfig, IPAMOptions, Network, NetworkAttachment, NetworkSpec
from swarmcore.model.node import NodeState
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.messages.networks import NetworkUpdate
from swarmcore.rpc.messages.session import Assignments
from tests.manager.dispatcher.bench import Agent, Bench, bench, node, task
from tests.manager.dispatcher.test_dispatcher import virtual

S = TaskState
VNIS = "com.docker.network.driver.overlay.vxlanid_list"


def network(name: str = "shop") -> Network:
    return Network(
        id=name,
        spec=NetworkSpec(name=name, ingress=name == "ingress"),
        driver_state=Driver(name="overlay", options={VNIS: "4096"}),
        ipam_options=IPAMOptions(configs=(IPAMConfig(subnet="10.1.0.0/24", gateway="10.1.0.1"),)),
    )


def on(task_: Task, *networks: str, place: int = 2) -> Task:
    attachments = (NetworkAttachment(network_id=n, addresses=(f"10.1.0.{place}/24",)) for n in networks)
    return replace(task_, networks_attachments=tuple(attachments))


def running(task_id: str = "t1", node_id: str = "n1", *networks: str) -> Task:
    return on(task(task_id, node_id=node_id, state=S.RUNNING), *(networks or ("shop",)))


@asynccontextmanager
async def shop(*more: Object) -> AsyncIterator[tuple[Bench, Agent, Agent]]:
    """Two hosts that carry the network, with a running task each."""
    objects = [node("n1"), node("n2"), network(), running("t1", "n1"), running("t2", "n2"), *more]
    async with bench(objects) as b:
        one, two = await b.connect("n1"), await b.connect("n2")
        await b.until(lambda: one.tasks and two.tasks and b.node("n2").status.state is NodeState.READY)
        await b.until(lambda: {*one.networks["shop"].nodes} == {"n1", "n2"} == {*two.networks["shop"].nodes})
        yield b, one, two


def active(agent: Agent) -> set[str]:
    return {e.id for e in agent.networks["shop"].endpoints.values() if e.active}


@virtual
async def test_a_session_begins_with_all_networks_and_then_the_tasks() -> None:
    async with shop(network("other")) as (_, one, _):
        kinds = [type(m) for m in one.received if isinstance(m, NetworkUpdate | Assignments)]
        assert kinds[:2] == [NetworkUpdate, Assignments]
        assert one.got(NetworkUpdate)[0].full
        assert set(one.networks) == {"shop"}, "others are none of its business"
        assert active(one) == {"t1", "t2"}


@virtual
async def test_a_node_without_networks_is_told_so() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.got(Assignments))
        (update,) = agent.got(NetworkUpdate)
        assert update.full
        assert not update.deltas


@virtual
async def test_a_network_comes_before_the_first_task_on_it() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.at == 1)
        for number in range(5):
            # Without a pause between them: the session may look while the dispatcher has yet to follow.
            await b.put(network(f"shop{number}"))
            await b.put(on(task(f"t{number}"), f"shop{number}", place=number + 2))
        await b.until(lambda: len(agent.tasks) == 5)
        known: set[str] = set()
        for message in agent.received:
            if isinstance(message, NetworkUpdate):
                known |= {delta.network_id for delta in message.deltas}
            elif isinstance(message, Assignments):
                assert {a.network_id for t in message.tasks for a in t.networks_attachments} <= known


@virtual
async def test_every_host_has_the_ingress_network() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.put(network("ingress"))
        await b.until(lambda: "ingress" in agent.networks)
        await b.delete("ingress")
        await b.until(lambda: not agent.networks)


@virtual
async def test_a_network_goes_with_the_last_task_that_has_not_ended() -> None:
    async with shop() as (b, one, two):
        await b.put(replace(b.task("t1"), status=replace(b.task("t1").status, state=S.FAILED)))
        await b.until(lambda: not one.networks)
        await b.until(lambda: {*two.networks["shop"].endpoints} == {"t2"} == active(two))
        assert {*two.networks["shop"].nodes} == {"n2"}


@virtual
async def test_a_session_is_not_bothered_by_what_is_not_on_its_networks() -> None:
    async with shop(network("other")) as (b, one, _):
        before = len(one.received)
        await b.put(Service(id="s9", spec=ServiceSpec(name="elsewhere")), running("t9", "n2", "other"))
        await b.put(task("t8", node_id="n2"))
        await asyncio.sleep(0.3)
        assert len(one.received) == before


@virtual
async def test_a_burst_of_changes_shares_updates() -> None:
    async with shop() as (b, one, _):
        before = len(one.got(NetworkUpdate))
        for number in range(3, 53):
            await b.put(running(f"t{number}", "n2"))
        await b.until(lambda: len(one.networks["shop"].endpoints) == 52)
        assert len(one.got(NetworkUpdate)) - before <= 4


@virtual
async def test_a_task_stops_when_every_host_has_confirmed() -> None:
    async with shop() as (b, one, two):
        two.confirming = False
        await b.desire("t1", S.SHUTDOWN)
        await b.until(lambda: active(one) == {"t2"} == active(two))
        await asyncio.sleep(0.5)
        assert one.tasks["t1"].desired_state is S.RUNNING
        await two.confirm()
        assert await b.until(lambda: one.tasks["t1"].desired_state is S.SHUTDOWN) < 0.05
        assert "t1" in two.networks["shop"].endpoints, "its live connections go on"


@virtual
async def test_hosts_that_confirm_at_once_delay_nothing_much() -> None:
    async with shop() as (b, one, _):
        await b.desire("t1", S.SHUTDOWN)
        assert await b.until(lambda: one.tasks["t1"].desired_state is S.SHUTDOWN) < 0.06


@virtual
async def test_a_stuck_host_delays_a_stop_by_a_second() -> None:
    async with shop() as (b, one, two):
        two.confirming = False
        await b.desire("t1", S.SHUTDOWN)
        assert 0.9 < await b.until(lambda: one.tasks["t1"].desired_state is S.SHUTDOWN) < 1.1


@virtual
async def test_a_host_whose_session_ends_is_not_waited_for() -> None:
    async with shop() as (b, one, two):
        two.confirming = False
        await b.desire("t1", S.SHUTDOWN)
        await b.until(lambda: active(two) == {"t2"})
        await two.end.close()
        assert await b.until(lambda: one.tasks["t1"].desired_state is S.SHUTDOWN) < 0.1


@virtual
async def test_a_host_without_the_network_is_not_waited_for() -> None:
    async with shop(node("n3")) as (b, one, _):
        three = await b.connect("n3")
        three.confirming = False
        await b.until(lambda: three.at == 1)
        await b.desire("t1", S.SHUTDOWN)
        assert await b.until(lambda: one.tasks["t1"].desired_state is S.SHUTDOWN) < 0.06


@virtual
async def test_tasks_that_nobody_connects_to_stop_at_once() -> None:
    starting = on(task("t3", state=S.STARTING), "shop")
    async with shop(starting, task("t4", state=S.RUNNING)) as (b, one, two):
        one.confirming = two.confirming = False
        await b.desire("t3", S.SHUTDOWN)
        await b.desire("t4", S.SHUTDOWN)
        assert await b.until(lambda: one.tasks["t3"].desired_state is S.SHUTDOWN) < 0.04
        assert await b.until(lambda: one.tasks["t4"].desired_state is S.SHUTDOWN) < 0.04
        await one.report(1, t3=S.RUNNING)
        await asyncio.sleep(0.3)
        assert one.tasks["t3"].desired_state is S.SHUTDOWN, "it came too late to run, and is not called back"


@virtual
async def test_a_running_task_that_is_deleted_goes_when_every_host_has_confirmed() -> None:
    async with shop() as (b, one, two):
        two.confirming = False
        await b.delete("t1")
        await b.until(lambda: active(two) == {"t2"})
        await asyncio.sleep(0.3)
        assert "t1" in one.tasks
        await two.confirm()
        assert await b.until(lambda: "t1" not in one.tasks) < 0.05


@virtual
async def test_a_new_session_of_the_node_is_shown_the_same() -> None:
    async with shop() as (b, _, two):
        two.confirming = False
        await b.desire("t1", S.SHUTDOWN)
        again = await b.connect("n1")
        await b.until(lambda: "t1" in again.tasks)
        assert again.tasks["t1"].desired_state is S.RUNNING
        assert await b.until(lambda: again.tasks["t1"].desired_state is S.SHUTDOWN) < 1.1


@virtual
async def test_the_barrier_begins_anew_with_a_new_leader() -> None:
    b = Bench()
    await b.put(node("n1"), network(), replace(running(), desired_state=S.SHUTDOWN))
    async with b.leading():
        agent = await b.connect("n1")
        await b.until(lambda: agent.tasks)
        assert agent.tasks["t1"].desired_state is S.RUNNING
        assert 0.9 < await b.until(lambda: agent.tasks["t1"].desired_state is S.SHUTDOWN) < 1.1
    async with b.leading():
        again = await b.connect("n1")
        assert (
            0.9 < await b.until(lambda: again.tasks and again.tasks["t1"].desired_state is S.SHUTDOWN) < 1.1
        )
    await b.close()


@virtual
async def test_endpoints_of_a_node_that_went_down_are_gone_at_once() -> None:
    async with shop() as (b, _, two):
        found = b.node("n1")
        await b.put(replace(found, status=replace(found.status, state=NodeState.DOWN)))
        assert await b.until(lambda: {*two.networks["shop"].endpoints} == {"t2"}) < 0.05


@virtual
async def test_networks_survive_a_watch_that_lags() -> None:
    async with shop() as (b, one, two):
        for feed in b.store._feeds:
            feed.lag()
        await b.put(network("new"), on(task("t3"), "new"))
        await b.desire("t1", S.SHUTDOWN)
        await b.until(lambda: {*one.tasks} == {"t1", "t3"} and {*one.networks} == {"shop", "new"})
        await b.until(lambda: one.tasks["t1"].desired_state is S.SHUTDOWN)
        assert active(one) == {"t2"} == active(two)


def test_a_host_of_which_a_session_has_told_nothing_yet_may_go_by_anything() -> None:
    assert NetworkStream("n1").needed((), EndpointTables()) == 1
