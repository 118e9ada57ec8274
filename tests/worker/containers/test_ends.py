"""What a container held is free when it has ended, and nothing is left of a node's containers when it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.aio import owned
from swarmcore.errors import Unavailable
from swarmcore.model.container import Mount, MountType
from swarmcore.model.endpoint import PortConfig
from tests.worker.containers.conftest import Node
from worker.containers.networking import Isolated
from worker.networks.plan import ContainerNetwork, NetworkPlan
from worker.tasks.controller import ContainerFailed

pytestmark = pytest.mark.root
FOREVER = ["sleep", "1000"]


class Ports(Isolated):
    """A port for each container, and who has one; `gate` holds back who comes, `broken` keeps what goes."""

    def __init__(self) -> None:
        super().__init__("nameserver 192.0.2.1\n")
        self.held: dict[str, SandboxSpec] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = asyncio.Event()
        self.broken = False

    async def make_network(self, plan: NetworkPlan, container_id: str, hostname: str) -> ContainerNetwork:
        self.waiting.set()
        await self.gate.wait()
        spec = SandboxSpec(id=container_id, task_id=plan.owner, host_ports=(PortConfig(published_port=8080),))
        self.held[container_id] = spec
        return ContainerNetwork(resolv_conf="", sandbox=spec)

    async def adopt(self, sandboxes: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        self.held = {key: spec for key, (spec, _) in sandboxes.items()}

    async def release(self, sandbox: SandboxSpec) -> None:
        if self.broken:
            raise Unavailable("the kernel does not answer")
        self.held.pop(sandbox.id, None)


@pytest.fixture
async def ports(node: Node) -> Ports:
    made = Ports()
    await node.replace(networking=made)
    return made


async def test_ports_volumes_and_limits_of_an_ended_container_are_free(node: Node, ports: Ports) -> None:
    named = Mount(type=MountType.VOLUME, source="data", target="/data")
    nameless = Mount(type=MountType.VOLUME, source="", target="/scratch")
    task = node.task("exit 3", mounts=(named, nameless))
    await node.started(task)
    assert (await node.outcome(task)).code == 3
    assert ports.held == {}
    volumes = node.containers.volumes
    volumes.remove("data")
    (scratch,) = volumes.list()
    with pytest.raises(Exception, match="in use"):
        volumes.remove(scratch.name)  # goes with the container, whose content it is
    controller = await node.executor.controller(task, {}, {})
    assert [port.published_port for port in controller.ports()] == [8080]  # what it had is still told
    container = node.containers.owned_by(task.id)
    assert container is not None

    async def no_limits() -> None:
        while list(Path("/sys/fs/cgroup").glob(f"**/{node.cgroup_parent}/{container.record.id}")):
            await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        await no_limits()
    await controller.remove()
    assert volumes.list() == ()


async def test_a_task_that_is_stopped_before_its_start_holds_nothing(node: Node, ports: Ports) -> None:
    task = node.task(FOREVER)
    controller = await node.executor.controller(task, {}, {})
    await controller.prepare()
    assert len(ports.held) == 1
    await controller.shutdown()
    assert ports.held == {}
    with pytest.raises(ContainerFailed, match="stopped before it was started"):
        await controller.wait()


async def test_one_that_cannot_be_started_holds_nothing(node: Node, ports: Ports) -> None:
    with pytest.raises(ContainerFailed):
        await node.started(node.task(["/no/such/program"]))
    assert ports.held == {}


async def test_an_end_is_told_even_if_its_network_cannot_be_given_back_yet(node: Node, ports: Ports) -> None:
    ports.broken = True
    task = node.task("exit 4")
    await node.started(task)
    assert (await node.outcome(task)).code == 4
    ports.broken = False
    await node.executor.sweep(())
    assert ports.held == {}


async def test_a_restarted_daemon_adopts_only_what_lives(node: Node, ports: Ports) -> None:
    ended, lives, volume = node.task("exit 0"), node.task(FOREVER), "kept"
    mount = Mount(type=MountType.VOLUME, source=volume, target="/data")
    held = node.task(FOREVER, mounts=(mount,))
    for task in (ended, lives, held):
        await node.started(task)
    await node.outcome(ended)
    again = Ports()
    await node.replace(networking=again)
    assert {spec.task_id for spec in again.held.values()} == {lives.id, held.id}
    with pytest.raises(Exception, match="in use"):
        node.containers.volumes.remove(volume)
    await (await node.executor.controller(held, {}, {})).terminate()
    node.containers.volumes.remove(volume)


# -- leaving ---------------------------------------------------------------------------------------
async def test_a_sweep_does_not_miss_a_container_that_is_being_prepared(node: Node, ports: Ports) -> None:
    ports.gate.clear()
    controller = await node.executor.controller(node.task(FOREVER), {}, {})
    async with (
        owned(controller.prepare(), "prepare"),
        owned(_sweep_when(node, ports.waiting), "sweep") as sweep,
    ):
        await ports.waiting.wait()
        await asyncio.sleep(0)
        ports.gate.set()
        await sweep
    assert ports.held == {}
    assert node.leftovers() == [] or all(each.startswith("cgroup") for each in node.leftovers())


async def _sweep_when(node: Node, ready: asyncio.Event) -> None:
    await ready.wait()
    await node.executor.sweep(())


async def test_two_sweeps_and_a_removal_at_a_time_remove_once(node: Node, ports: Ports) -> None:
    task = node.task(FOREVER)
    controller = await node.started(task)
    await asyncio.gather(node.executor.sweep(()), controller.remove(), node.executor.sweep(()))
    assert node.containers.owned_by(task.id) is None
    assert ports.held == {}


async def test_a_sweep_does_not_wait_for_a_long_grace_period(node: Node, ports: Ports) -> None:
    task = node.task("trap '' TERM; echo up; while :; do sleep 0.05; done", stop_grace_period=3600 * 10**9)
    controller = await node.started(task)
    async for line in node.executor.logs(task.id, follow=True):
        if line.data == b"up\n":
            break
    async with owned(controller.shutdown(), "stop") as stop:
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await node.executor.sweep(())
            await stop
    assert ports.held == {}


async def test_a_failed_removal_does_not_keep_the_others_from_going(node: Node, ports: Ports) -> None:
    first, second = node.task(FOREVER), node.task(FOREVER)
    for task in (first, second):
        await node.started(task)
    ports.broken = True
    with pytest.raises(Unavailable):
        await node.executor.sweep(())
    assert node.containers.running == 0
    ports.broken = False
    await node.executor.sweep(())
    assert ports.held == {}
