"""A task hears that it shall stop when every host keeps new connections away from it, or a second later."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from msgspec.structs import replace

from manager.dispatcher.drain import DrainBarrier
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


class Host:
    def __init__(self, name: str, *networks: str) -> None:
        self.session_id, self._networks = name, set(networks)
        self.sent, self.confirmed_networks = 4, 4

    def holds_networks(self, network_ids: Iterable[str]) -> bool:
        return bool(self._networks & set(network_ids))

    def next_network_update(self) -> int:
        return self.sent + 1


class Scene:
    def __init__(self) -> None:
        self.released: list[str] = []
        self.barrier = DrainBarrier(LoopClock(), self.released.append)
        self.hosts = [Host("a", "n1"), Host("b", "n1", "n2"), Host("c", "n2")]

    def confirm(self, host: Host, number: int) -> None:
        host.confirmed_networks = number
        self.barrier.confirmed(host)


async def test_it_is_withheld_until_every_host_that_has_the_network_has_confirmed() -> None:
    scene = Scene()
    a, b, _ = scene.hosts
    assert scene.barrier.withholds(STOPPING)  # also before anybody was told
    scene.barrier.begin(STOPPING, scene.hosts)
    scene.confirm(a, 5)
    scene.confirm(b, 4)
    assert scene.released == []
    assert scene.barrier.withholds(STOPPING)
    scene.confirm(b, 6)
    assert scene.released == ["t1"]
    assert not scene.barrier.withholds(STOPPING)


async def test_a_session_that_ends_is_not_waited_for() -> None:
    scene = Scene()
    scene.barrier.begin(STOPPING, scene.hosts)
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
            scene.barrier.begin(STOPPING, scene.hosts)
            await asyncio.sleep(0.9)
            assert scene.released == []
            await asyncio.sleep(0.2)
            assert scene.released == ["t1"]

    run_virtual(story())


def test_a_new_leader_who_does_not_know_whom_to_ask_waits_a_second() -> None:
    async def story() -> None:
        scene = Scene()
        async with owned(scene.barrier.run(), "barrier"):
            scene.barrier.begin_blind(STOPPING)
            scene.barrier.begin(STOPPING, [])
            await asyncio.sleep(0.9)
            assert scene.barrier.withholds(STOPPING)
            await asyncio.sleep(0.2)
            assert scene.released == ["t1"]

    run_virtual(story())


async def test_tasks_that_get_no_connections_are_not_delayed() -> None:
    scene = Scene()
    for task in (
        replace(STOPPING, networks_attachments=()),
        replace(STOPPING, status=TaskStatus(state=TaskState.STARTING)),
        replace(STOPPING, desired_state=TaskState.RUNNING),
    ):
        assert not scene.barrier.withholds(task)
    scene.barrier.begin(STOPPING, [scene.hosts[2]])  # nobody has its network
    assert not scene.barrier.withholds(STOPPING)
    assert scene.released == []


async def test_an_ended_task_is_forgotten() -> None:
    scene = Scene()
    scene.barrier.begin(STOPPING, scene.hosts)
    scene.barrier.ended("t1")
    scene.confirm(scene.hosts[0], 9)
    scene.confirm(scene.hosts[1], 9)
    assert scene.released == []
