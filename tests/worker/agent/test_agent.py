"""The agent against managers that speak the protocol by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from swarmcore.errors import Unavailable
from swarmcore.rpc.messages.logs import (
    LogBatch,
    LogOptions,
    LogsEnd,
    PublishLogs,
    SubscribeLogs,
    UnsubscribeLogs,
)
from swarmcore.rpc.messages.session import (
    ManagerAddress,
    Redirect,
    SessionEnd,
)
from tests.fakes.executor import FakeContainer
from tests.fakes.streams import StreamEnd
from tests.worker.agent.conftest import A, B, Host, Leader, S
from tests.worker.sample import secret, task, until, with_secret


async def test_an_assigned_task_is_run_and_reported(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)
        host.executor.exit("t1", 1)
        await until(lambda: leader.states.get("t1") is S.FAILED)
    assert host.roots == [b"root"] and [node.id for node in host.nodes] == ["n1"]


async def test_incremental_assignments_add_change_and_remove_tasks(host: Host) -> None:
    async with host.agent() as agent:
        leader = await host.leader()
        await leader.full(task("t1"), task("t2"))
        await until(lambda: host.executor.running == {"t1", "t2"})
        await leader.assign(tasks=(task("t1", desired=S.SHUTDOWN), task("t3")))
        await until(lambda: host.executor.running == {"t2", "t3"})
        await leader.assign(removed_tasks=("t1", "t2"))
        await until(lambda: set(host.executor.removed) == {"t1", "t2"} and len(agent.tasks) == 1)


async def test_parts_of_one_assignment_are_applied_together(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.assign(full=True, more=True, tasks=(task("t1"),))
        await leader.assign(more=True, secrets=(secret(),))
        await leader.assign(tasks=(task("t2", container=with_secret()),))
        await until(lambda: host.executor.running == {"t1", "t2"})


async def test_a_gap_in_the_numbers_reopens_the_session(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        leader.number += 1
        await leader.assign(tasks=(task("t2"),))
        again = await host.leader()
        await again.full(task("t1"), task("t2"))
        await until(lambda: host.executor.running == {"t1", "t2"})
    assert host.executor.containers["t1"].log == ["prepare", "start"]


async def test_a_reconnect_with_the_same_tasks_touches_no_container(host: Host) -> None:
    async with host.agent():
        first = await host.leader()
        await first.full(task("t1"), task("t2"))
        await until(lambda: set(first.states.values()) == {S.RUNNING})
        await first.end.close()
        second = await host.leader()
        await second.full(task("t1"), task("t2"))
        await until(lambda: set(second.states.values()) == {S.RUNNING} and len(second.states) == 2)
        await second.assign(tasks=(task("t3"),))
        await until(lambda: host.executor.running == {"t1", "t2", "t3"})
    assert all(host.executor.containers[t].log == ["prepare", "start"] for t in ("t1", "t2"))


async def test_a_full_assignment_ends_what_it_does_not_name(host: Host) -> None:
    async with host.agent():
        first = await host.leader()
        await first.full(task("t1"), task("t2"))
        await until(lambda: host.executor.running == {"t1", "t2"})
        await first.end.close()
        await (await host.leader()).full(task("t2"))
        await until(lambda: host.executor.removed == ["t1"])


async def test_statuses_wait_while_there_is_no_leader(host: Host) -> None:
    async with host.agent():
        first = await host.leader()
        await first.full(task("t1"))
        await until(lambda: first.states.get("t1") is S.RUNNING)
        host.managers.up = set()
        await first.end.close()
        host.executor.exit("t1", 0)
        host.managers.up = {A}
        second = await host.leader()
        await until(lambda: second.states.get("t1") is S.COMPLETE)


async def test_a_restarted_agent_finds_managers_and_tasks_in_its_database(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"), task("t2"))
        await until(lambda: set(leader.states.values()) == {S.RUNNING})
    assert host.executor.running == {"t1", "t2"}, "containers outlive the daemon"
    host.executor.exit("t2", 4)  # while nobody looks
    host.managers.up = {B}
    async with host.agent(addresses=()):
        leader = await host.leader()
        await until(lambda: leader.states == {"t1": S.RUNNING, "t2": S.FAILED})
        await leader.full(task("t1"), task("t2", state=S.RUNNING))
    assert host.executor.containers["t1"].log == ["prepare", "start"]
    assert host.executor.swept == []


async def test_a_restarted_agent_works_without_any_manager_and_sweeps_strangers(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: leader.states.get("t1") is S.RUNNING)
    host.executor.containers["stranger"] = FakeContainer(task("stranger"), {}, running=True)
    host.managers.up = set()
    async with host.agent() as agent:
        await until(lambda: host.executor.swept == ["stranger"])
        host.executor.exit("t1", 0)
        await until(lambda: agent.tasks.statuses["t1"].state is S.COMPLETE)
        assert not agent.connected


async def test_a_follower_sends_the_agent_to_the_leader(host: Host) -> None:
    host.managers.up = {A, B}
    async with host.agent() as agent:
        address, end = await host.session()
        assert address == A
        await end.send(Redirect(leader=ManagerAddress(node_id="m2", address=B)))
        address, end = await host.session()
        assert address == B
        await Leader(end).open()
        await until(lambda: agent.connected)


async def test_managers_that_name_each_other_do_not_make_the_agent_spin(host: Host) -> None:
    host.managers.up = {A, B}
    async with host.agent():
        for _ in range(6):
            address, end = await host.session()
            other = B if address == A else A
            await end.send(Redirect(leader=ManagerAddress(node_id="m", address=other)))
    assert len(host.managers.sessions) <= 8


async def test_a_silent_leader_is_given_up(host: Host) -> None:
    async with host.agent():
        _, end = await host.session()
        leader = Leader(end)
        await leader.open(period=0.02)
        await host.session()
    assert end.closed or end.peer.closed


async def test_a_removed_node_tells_its_daemon(host: Host) -> None:
    async with host.agent():
        _, end = await host.session()
        await end.send(SessionEnd(reason="this node was removed from the swarm", forbidden=True))
        await until(lambda: host.removed)
    assert host.removed[0] == "this node was removed from the swarm"


def lines(messages: list[Any]) -> Iterator[str]:
    for message in messages:
        if isinstance(message, LogBatch):
            yield from (line.data.decode() for line in message.messages)


async def read_logs(end: StreamEnd, into: list[Any]) -> None:
    try:
        while not (into and isinstance(into[-1], LogsEnd)):
            into.append(await end.receive())
    except Unavailable:
        return


async def test_logs_are_published_and_end_with_what_is_missing(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: host.executor.running)
        host.executor.write("t1", "one")
        host.executor.write("t1", "two", "stderr")
        await leader.end.send(
            SubscribeLogs(subscription_id="l1", task_ids=("t1", "none"), options=LogOptions(stderr=False))
        )
        await until(lambda: host.managers.publishers)
        opening, end = host.managers.publishers[0]
        got: list[Any] = []
        async with asyncio.timeout(10):
            await read_logs(end, got)
    assert opening == PublishLogs(subscription_id="l1", task_ids=("t1", "none"))
    assert list(lines(got)) == ["one"]
    assert got[-1] == LogsEnd(warnings=("task none: not on node n1",))


async def test_followed_logs_end_when_nobody_reads_them_any_more(host: Host) -> None:
    async with host.agent():
        leader = await host.leader()
        await leader.full(task("t1"))
        await until(lambda: host.executor.running)
        options = LogOptions(follow=True)
        await leader.end.send(SubscribeLogs(subscription_id="l1", task_ids=("t1",), options=options))
        await until(lambda: host.managers.publishers)
        got: list[Any] = []
        _, end = host.managers.publishers[0]
        reader = host.tasks.start(read_logs(end, got), "reader")
        host.executor.write("t1", "late")
        await until(lambda: list(lines(got)) == ["late"])
        await leader.end.send(UnsubscribeLogs(subscription_id="l1"))
        await until(reader.done)
    assert list(lines(got)) == ["late"]
