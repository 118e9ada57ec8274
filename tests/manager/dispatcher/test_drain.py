"""A task hears that it shall stop when every host keeps new connections away from it, or a second later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from manager.dispatcher.drain import DrainBarrier
from manager.store.tables import TASKS, Table
from swarmcore.aio import owned
from swarmcore.model.network import NetworkAttachment
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.fakes.virtual_time import LoopClock, run_virtual

ON = (NetworkAttachment(network_id="n1", addresses=("10.0.0.2/24",)),)
STOPPING = Task(
    id="t1",
    networks_attachments=ON,
    status=TaskStatus(state=TaskState.RUNNING),
    desired_state=TaskState.SHUTDOWN,
)


RUNNING = replace(STOPPING, desired_state=TaskState.RUNNING)


class Host:
    def __init__(self, name: str, *networks: str) -> None:
        self.session_id, self._networks = name, set(networks)
        self.sent, self.confirmed_networks, self.knows = 4, 4, False

    def networks_needed(self, network_ids: Iterable[str]) -> int:
        if self._networks.isdisjoint(network_ids):
            return 0
        return self.sent if self.knows else self.sent + 1


class Scene:
    def __init__(self) -> None:
        self.released: list[str] = []
        self.barrier = DrainBarrier(LoopClock(), lambda task_id, node_id: self.released.append(task_id))
        self.hosts = [Host("a", "n1"), Host("b", "n1", "n2"), Host("c", "n2")]

    def begin(self) -> None:
        self.barrier.changed(RUNNING, STOPPING, self.hosts)

    def confirm(self, host: Host, number: int) -> None:
        host.confirmed_networks = number
        self.barrier.confirmed(host)


async def test_it_is_withheld_until_every_host_that_has_the_network_has_confirmed() -> None:
    scene = Scene()
    a, b, _ = scene.hosts
    assert scene.barrier.withholds(STOPPING)  # also before anybody was told
    scene.begin()
    scene.confirm(a, 5)
    scene.confirm(b, 4)
    assert scene.released == []
    assert scene.barrier.withholds(STOPPING)
    scene.confirm(b, 6)
    assert scene.released == ["t1"]
    assert not scene.barrier.withholds(STOPPING)


async def test_a_session_that_ends_is_not_waited_for() -> None:
    scene = Scene()
    scene.begin()
    scene.confirm(scene.hosts[0], 5)
    scene.barrier.left("c")
    assert scene.released == []
    scene.barrier.left("b")
    assert scene.released == ["t1"]


def test_a_stuck_host_delays_it_by_a_second() -> None:
    async def story() -> None:
        scene = Scene()
        async with owned(scene.barrier.run(), "barrier"):
            await asyncio.sleep(5)
            scene.begin()
            await asyncio.sleep(0.9)
            assert scene.released == []
            await asyncio.sleep(0.2)
            assert scene.released == ["t1"]

    run_virtual(story())


def test_a_new_leader_who_does_not_know_whom_to_ask_waits_a_second() -> None:
    async def story() -> None:
        scene = Scene()
        async with owned(scene.barrier.run(), "barrier"):
            scene.barrier.restart([STOPPING])
            scene.barrier.changed(STOPPING, STOPPING, [])
            await asyncio.sleep(0.9)
            assert scene.barrier.withholds(STOPPING)
            await asyncio.sleep(0.2)
            assert scene.released == ["t1"]

    run_virtual(story())


async def test_tasks_that_get_no_connections_are_not_delayed() -> None:
    scene = Scene()
    for task in (
        replace(STOPPING, networks_attachments=()),
        replace(STOPPING, networks_attachments=(NetworkAttachment(network_id="n1"),)),  # a local network
        replace(STOPPING, status=TaskStatus(state=TaskState.STARTING)),
        replace(STOPPING, desired_state=TaskState.RUNNING),
        replace(STOPPING, desired_state=TaskState.COMPLETE),  # a job's task
    ):
        assert not scene.barrier.withholds(task)
    scene.barrier.changed(RUNNING, STOPPING, [scene.hosts[2]])  # nobody has its network
    assert not scene.barrier.withholds(STOPPING)
    assert scene.released == []


async def test_hosts_that_have_confirmed_already_are_not_waited_for() -> None:
    scene = Scene()
    scene.hosts[0].knows = scene.hosts[1].knows = True
    scene.begin()
    assert not scene.barrier.withholds(STOPPING)


async def test_a_task_that_was_told_to_stop_before_it_ran_stays_told() -> None:
    scene = Scene()
    starting = replace(STOPPING, status=TaskStatus(state=TaskState.STARTING))
    scene.barrier.changed(replace(starting, desired_state=TaskState.RUNNING), starting, scene.hosts)
    scene.barrier.changed(starting, STOPPING, scene.hosts)
    assert not scene.barrier.withholds(STOPPING)


async def test_an_ended_task_is_forgotten() -> None:
    scene = Scene()
    scene.begin()
    scene.barrier.changed(STOPPING, replace(STOPPING, status=TaskStatus(state=TaskState.FAILED)), scene.hosts)
    scene.confirm(scene.hosts[0], 9)
    scene.confirm(scene.hosts[1], 9)
    assert scene.released == []


async def test_a_running_task_that_is_deleted_is_withheld_too() -> None:
    for before in (RUNNING, STOPPING):
        scene = Scene()
        if before is STOPPING:
            scene.begin()
        scene.barrier.changed(before, None, scene.hosts)
        assert scene.barrier.withholds_removal("t1")
        scene.confirm(scene.hosts[0], 5)
        scene.confirm(scene.hosts[1], 5)
        assert scene.released == ["t1"]
        assert not scene.barrier.withholds_removal("t1")


async def test_what_a_lagging_watch_did_not_tell_is_found() -> None:
    scene = Scene()
    other = replace(STOPPING, id="t2")
    scene.begin()
    scene.barrier.catch_up(Table(TASKS, [other]), scene.hosts)
    assert scene.barrier.withholds(other)
    scene.confirm(scene.hosts[0], 5)
    scene.confirm(scene.hosts[1], 5)
    assert scene.released == ["t2"], "t1 is gone"


class Returning(Host):
    """Not told of anything yet in this session."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.confirmed_networks = 0

    def networks_needed(self, network_ids: Iterable[str]) -> int:
        return 1


async def test_a_host_that_comes_back_is_waited_for_because_it_goes_by_what_it_knew() -> None:
    scene = Scene()
    a, b, _ = scene.hosts
    scene.begin()
    back = Returning("d")
    scene.barrier.joined(back, [])
    scene.confirm(a, 5)
    scene.confirm(b, 5)
    assert scene.released == []
    scene.confirm(back, 1)
    assert scene.released == ["t1"]


async def test_tasks_of_a_host_that_comes_back_stop_when_it_sends_them_nothing_itself() -> None:
    scene = Scene()
    a, b, _ = scene.hosts
    scene.begin()
    scene.confirm(a, 5)
    scene.confirm(b, 5)
    assert not scene.barrier.withholds(STOPPING)  # but nobody has told its agent, which was away
    back = Returning("d")
    scene.barrier.joined(back, [STOPPING, replace(RUNNING, id="t2")])
    assert scene.barrier.withholds(STOPPING)
    scene.confirm(back, 1)
    assert not scene.barrier.withholds(STOPPING)
    assert scene.released == ["t1", "t1"]


async def test_a_host_that_agrees_already_is_not_waited_for_again() -> None:
    scene = Scene()
    scene.begin()
    scene.barrier.joined(Host("d"), [])
    for host in scene.hosts[:2]:
        scene.confirm(host, 5)
    assert scene.released == ["t1"]
