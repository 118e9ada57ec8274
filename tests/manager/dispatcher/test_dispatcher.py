"""Sessions of agents with the leader, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any

from msgspec.structs import replace

from manager.raft.proposer import Member
from swarmcore.model.cluster import DispatcherConfig
from swarmcore.model.network import IPAMConfig, IPAMOptions, Network, NetworkSpec
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeSpec, NodeState
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.session import (
    Acknowledged,
    Assignments,
    DescriptionUpdate,
    Heartbeat,
    ManagerAddress,
    Redirect,
    SessionEnd,
    SessionInfo,
)
from tests.fakes.virtual_time import run_virtual
from tests.manager.dispatcher.bench import Bench, bench, node, secret, task

S = TaskState


def virtual(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @wraps(story)
    def test() -> None:
        run_virtual(story())

    del test.__wrapped__  # or pytest sees a coroutine function
    return test


@virtual
async def test_a_session_makes_the_node_ready_and_brings_its_tasks() -> None:
    async with bench([node(), task("t1", secrets=("x1",)), secret("x1"), task("t2", node_id="n2")]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.tasks and b.node().status.state is NodeState.READY)
        assert set(agent.tasks) == {"t1"} and agent.secrets == {"x1"}
        assert b.node().status.addr == "10.0.0.7"
        assert b.node().description == NodeDescription(hostname="host1")
        assert (agent.info.root_ca, agent.info.heartbeat_period) == (b"root", 1_000_000_000)
        assert agent.info.managers == (ManagerAddress(node_id="manager1", address="10.0.0.1:2377"),)


@virtual
async def test_assignments_follow_the_store_at_once() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.at == 1)
        await b.put(task("t1"))
        assert await b.until(lambda: "t1" in agent.tasks) < 0.01
        await b.desire("t1", S.SHUTDOWN)
        assert await b.until(lambda: agent.tasks["t1"].desired_state is S.SHUTDOWN) < 0.03
        await b.delete("t1")
        assert await b.until(lambda: not agent.tasks) < 0.03


@virtual
async def test_a_burst_of_changes_shares_messages() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.at == 1)
        for number in range(50):
            await b.put(task(f"t{number}"))
        await b.until(lambda: len(agent.tasks) == 50)
        assert len(agent.got(Assignments)) <= 4


@virtual
async def test_reports_are_written_and_acknowledged() -> None:
    async with bench([node(), task("t1"), task("t2")]) as b:
        agent = await b.connect()
        await agent.report(7, t1=S.RUNNING, t2=S.PREPARING)
        assert await b.until(lambda: agent.got(Acknowledged)) < 0.1
        assert agent.got(Acknowledged) == [Acknowledged(number=7)]
        assert (b.task("t1").status.state, b.task("t2").status.state) == (S.RUNNING, S.PREPARING)
        await b.until(lambda: agent.at == 1)
        await asyncio.sleep(1)
        assert len(agent.got(Assignments)) == 1, "its own statuses came back"


@virtual
async def test_a_state_never_goes_back_and_foreign_or_deleted_tasks_are_not_written() -> None:
    async with bench([node(), node("n2"), task("t1", state=S.RUNNING), task("t2", node_id="n2")]) as b:
        agent = await b.connect()
        await agent.report(1, t1=S.STARTING, t2=S.FAILED, t3=S.RUNNING)
        await b.until(lambda: agent.got(Acknowledged))
        await agent.report(2, t1=S.ORPHANED)
        await b.until(lambda: len(agent.got(Acknowledged)) == 2)
        assert b.task("t1").status.state is S.RUNNING
        assert b.task("t2").status.state is S.ASSIGNED
        assert "t3" not in b.store.view().tasks


@virtual
async def test_many_reports_of_a_moment_cost_few_entries() -> None:
    tasks = [task(f"t{number}") for number in range(500)]
    async with bench([node()]) as b:
        for start in range(0, 500, 100):
            await b.put(*tasks[start : start + 100])
        agent = await b.connect()
        await b.until(lambda: len(agent.tasks) == 500)
        entries = len(b.raft.log)
        for number in range(500):
            await agent.report(number, **{f"t{number}": S.RUNNING})
        await b.until(lambda: len(agent.got(Acknowledged)) == 500)
        assert len(b.raft.log) - entries <= 30


@virtual
async def test_a_lost_answer_of_raft_only_delays_a_report() -> None:
    async with bench([node(), task("t1")]) as b:
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
        b.raft.lose_next_answer(committed=False)
        await agent.report(1, t1=S.RUNNING)
        await b.until(lambda: agent.got(Acknowledged))
        assert b.task("t1").status.state is S.RUNNING


@virtual
async def test_a_broken_connection_is_disconnected_at_once_and_down_soon() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
        await agent.end.close()
        assert await b.until(lambda: b.node().status.state is NodeState.DISCONNECTED) < 0.1
        assert 2 < await b.until(lambda: b.node().status.state is NodeState.DOWN) < 3


@virtual
async def test_a_daemon_that_restarts_quickly_is_never_down() -> None:
    async with bench([node()]) as b:
        seen: list[NodeState] = []
        for _ in range(3):
            agent = await b.connect()
            await b.until(lambda: b.node().status.state is NodeState.READY)
            await agent.end.close()
            await asyncio.sleep(2)
            seen.append(b.node().status.state)
        agent = await b.connect()
        await asyncio.sleep(10)
        assert b.node().status.state is NodeState.READY
        assert seen == [NodeState.DISCONNECTED] * 3


@virtual
async def test_longer_heartbeats_leave_a_daemon_longer_to_restart() -> None:
    async with bench([node()]) as b:
        cluster = next(iter(b.store.view().clusters))
        slow = replace(cluster.spec, dispatcher=DispatcherConfig(heartbeat_period=4_000_000_000))
        await b.put(replace(cluster, spec=slow))
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
        await agent.end.close()
        assert 8 < await b.until(lambda: b.node().status.state is NodeState.DOWN) < 12


@virtual
async def test_a_silent_node_is_down_after_three_heartbeats() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await asyncio.sleep(20)
        assert b.node().status.state is NodeState.READY
        assert agent.got(Heartbeat), "the dispatcher answers heartbeats"
        assert all(beat.time > 0 for beat in agent.got(Heartbeat)), "and tells its time"
        agent.silence()
        assert 1.9 < await b.until(lambda: b.node().status.state is NodeState.DOWN) < 3.3
        await b.until(lambda: agent.closed)
        assert "heartbeat" in agent.got(SessionEnd)[0].reason


@virtual
async def test_a_newer_session_fences_the_older_one() -> None:
    async with bench([node(), task("t1")]) as b:
        older = await b.connect()
        newer = await b.connect()
        await b.until(lambda: older.closed)
        assert older.got(SessionEnd)
        await asyncio.sleep(20)
        assert b.node().status.state is NodeState.READY
        assert not newer.closed
        assert newer.info.session_id != older.info.session_id


@virtual
async def test_a_follower_names_the_leader() -> None:
    b = Bench()
    b.raft.leading = False
    b.raft.other_leader = Member(node_id="m2", address="10.0.0.2:2377")
    agent = await b.connect()
    assert agent.received == [Redirect(leader=ManagerAddress(node_id="m2", address="10.0.0.2:2377"))]
    b.raft.other_leader = None
    assert (await b.connect()).received == [Redirect()]
    await b.close()


@virtual
async def test_a_leader_that_has_not_begun_sends_agents_away_for_a_moment() -> None:
    b = Bench()
    assert (await b.connect()).received == [Redirect()]
    await b.close()


@virtual
async def test_an_unknown_node_is_refused() -> None:
    async with bench() as b:
        agent = await b.connect("stranger")
        await b.until(lambda: agent.closed)
        (end,) = agent.got(SessionEnd)
        assert end.forbidden and b.ended == ["node stranger was removed from the swarm"]


@virtual
async def test_removing_a_node_ends_its_session_and_orphans_its_tasks() -> None:
    async with bench([node(), task("t1", state=S.RUNNING), task("t2", state=S.FAILED)]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.tasks)
        await b.delete("n1")
        await b.until(lambda: agent.closed and b.task("t1").status.state is S.ORPHANED)
        assert agent.got(SessionEnd)[0].forbidden
        assert b.task("t2").status.state is S.FAILED


@virtual
async def test_role_changes_reach_the_agent_and_that_it_is_seen_but_not_what_it_told() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
        await b.until(lambda: agent.info.node.status.state is NodeState.READY)
        await agent.end.send(DescriptionUpdate(description=NodeDescription(hostname="renamed")))
        await b.until(lambda: b.node().description == NodeDescription(hostname="renamed"))
        await asyncio.sleep(1)
        assert len(agent.got(SessionInfo)) == 2
        assert (agent.info.node.description, agent.info.node.status.addr) == (None, "")
        async with b.store.update() as tx:
            found = tx.nodes.get("n1")
            assert isinstance(found, Node)
            tx.put(replace(found, spec=NodeSpec(role=NodeRole.MANAGER), role=NodeRole.MANAGER))
        await b.until(lambda: len(agent.got(SessionInfo)) == 3)
        assert agent.info.node.role is NodeRole.MANAGER


@virtual
async def test_a_new_description_is_stored() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await agent.end.send(DescriptionUpdate(description=NodeDescription(hostname="renamed")))
        await b.until(lambda: b.node().description == NodeDescription(hostname="renamed"))


@virtual
async def test_a_node_whose_host_comes_in_the_way_of_a_network_is_remarked_upon() -> None:
    configs = IPAMOptions(configs=(IPAMConfig(subnet="10.9.0.0/24"),))
    shop = Network(id="shop", spec=NetworkSpec(name="shop"), ipam_options=configs)
    async with bench([node(), shop]) as b:
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
        assert b.node().status.message == ""

        def is_described(description: NodeDescription) -> bool:
            return b.node().description == description

        for subnets, routes, words in (
            (("10.9.0.7/16",), (), "network 10.9.0.0/16 overlaps with subnet 10.9.0.0/24 of network shop"),
            ((), ("10.9.0.0/25",), "route 10.9.0.0/25 overlaps with subnet 10.9.0.0/24 of network shop"),
            ((), (), ""),
        ):
            described = NodeDescription(hostname="host1", host_subnets=subnets, host_routes=routes)
            await agent.end.send(DescriptionUpdate(description=described))
            await b.until(partial(is_described, described))
            assert b.node().status.message == words


@virtual
async def test_a_new_leader_does_not_trust_what_it_did_not_see() -> None:
    b = Bench()
    await b.put(node("up", NodeState.READY), node("dead", NodeState.DOWN), node("back", NodeState.READY))
    async with b.leading():
        await b.until(lambda: b.node("up").status.state is NodeState.UNKNOWN)
        assert b.node("dead").status.state is NodeState.DOWN
        await b.connect("back")
        assert 3 < await b.until(lambda: b.node("up").status.state is NodeState.DOWN) < 4.5
        assert b.node("back").status.state is NodeState.READY
    await b.close()


@virtual
async def test_losing_the_lead_ends_sessions_without_blaming_the_nodes() -> None:
    b = Bench()
    await b.put(node())
    async with b.leading():
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
    await b.until(lambda: agent.closed)
    await asyncio.sleep(10)
    assert b.node().status.state is NodeState.READY
    async with b.leading():
        again = await b.connect()
        await b.until(lambda: again.at == 1)
        await asyncio.sleep(10)
        assert b.node().status.state is NodeState.READY
    await b.close()


@virtual
async def test_tasks_of_a_node_that_stays_down_are_orphaned() -> None:
    async with bench([node("n1", NodeState.DOWN), task("t1", state=S.RUNNING)]) as b:
        await asyncio.sleep(599)
        assert b.task().status.state is S.RUNNING
        await asyncio.sleep(3)
        assert b.task().status.state is S.ORPHANED


@virtual
async def test_a_node_that_joined_but_never_came_is_down() -> None:
    async with bench() as b:
        await b.put(node("n9"))
        assert 3 < await b.until(lambda: b.node("n9").status.state is NodeState.DOWN) < 5


@virtual
async def test_a_watch_that_lags_is_made_good_by_comparing() -> None:
    async with bench([node(), task("t1")]) as b:
        agent = await b.connect()
        await b.until(lambda: agent.tasks)
        for feed in b.store._feeds:
            feed.lag()
        await b.put(task("t2"))
        await b.delete("t1")
        await b.until(lambda: set(agent.tasks) == {"t2"})


@virtual
async def test_what_is_wrong_on_a_node_is_its_status_message_while_it_is_there() -> None:
    async with bench([node()]) as b:
        agent = await b.connect()
        await b.until(lambda: b.node().status.state is NodeState.READY)
        trouble = NodeDescription(hostname="host1", fault="task database: disk is full" + "x" * 10_000)
        await agent.end.send(DescriptionUpdate(description=trouble))
        await b.until(lambda: b.node().status.message.startswith("task database: disk is full"))
        assert len(b.node().status.message) <= 4096
        assert b.node().status.state is NodeState.READY
        await agent.end.send(DescriptionUpdate(description=NodeDescription(hostname="host1")))
        await b.until(lambda: b.node().status.message == "")
