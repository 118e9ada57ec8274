"""Containers outlive the daemon that started them, and the next daemon takes them over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from swarmcore.model.container import ContainerSpec, Mount, MountType
from swarmcore.model.task import Task, TaskSpec
from tests.worker.containers.conftest import IMAGE, Node
from worker.containers import record
from worker.containers.phases import Phase
from worker.tasks.controller import ContainerFailed

pytestmark = pytest.mark.root

_DAEMON = """
import asyncio, sys
from pathlib import Path
import msgspec
from swarmcore.model.task import Task
from worker.images.store import ImageStore
from worker.containers.engine import engine_of_host
from worker.containers.registry import ContainerRegistry
from worker.runtime.tools import preflight
from worker.tasks.executor import ContainerExecutor

async def main(base, parent, *tasks):
    images = ImageStore(base / "state/images")
    await images.open()
    containers = ContainerRegistry(engine_of_host(
        state_dir=base / "state", run_dir=base / "run", images=images, tools=preflight(),
        cgroup_parent=parent, hostname="test-node",
    ))
    executor = ContainerExecutor(containers)
    await containers.open()
    for raw in tasks:
        controller = await executor.controller(msgspec.json.decode(raw, type=Task), {}, {})
        await controller.prepare()
        await controller.start()
    print("started", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""


async def _daemon_was_killed(node: Node, *tasks: Task) -> None:
    """Another process starts the tasks and dies by SIGKILL, all of its process group with it."""
    await node.close()
    arguments = [str(node.base), node.cgroup_parent, *(msgspec.json.encode(task).decode() for task in tasks)]
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _DAEMON,
        *arguments,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        start_new_session=True,
    )
    assert child.stdout is not None
    async with asyncio.timeout(60):
        assert await child.stdout.readline() == b"started\n"
    os.killpg(child.pid, signal.SIGKILL)
    await child.wait()


async def test_a_running_container_is_adopted_with_its_log_and_exit_code(node: Node) -> None:
    gate = node.base / "gate"
    gate.mkdir()
    mount = Mount(type=MountType.BIND, source=str(gate), target="/gate")
    task = node.task(
        "echo before; while ! test -e /gate/open; do sleep 0.02; done; echo after; exit 7", mounts=(mount,)
    )
    await _daemon_was_killed(node, task)
    await node.adopt()
    controller = await node.executor.controller(task, {}, {})
    status = controller.status()
    assert status is not None
    assert status.pid > 0
    await controller.prepare()
    await controller.start()  # both find it running: nothing to do
    again = controller.status()
    assert again == status
    (gate / "open").touch()
    result = await node.outcome(task)
    assert (result.code, result.out) == (7, "before\nafter\n")


async def test_a_container_that_ended_meanwhile_tells_its_exit_code(node: Node) -> None:
    task = node.task("exit 11")
    await _daemon_was_killed(node, task)
    await node.adopt()
    assert (await node.outcome(task)).code == 11


async def test_an_adopted_container_can_be_stopped_with_grace(node: Node) -> None:
    task = node.task("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    await _daemon_was_killed(node, task)
    await node.adopt()
    async for line in node.executor.logs(task.id, follow=True):
        if line.data == b"up\n":
            break
    controller = await node.executor.controller(task, {}, {})
    await controller.shutdown()
    assert (await node.outcome(task)).out == "up\nbye\n"


async def test_unknown_containers_are_swept_and_known_ones_stay(node: Node) -> None:
    kept, gone = node.task(["sleep", "1000"]), node.task(["sleep", "1000"])
    await _daemon_was_killed(node, kept, gone)
    await node.adopt()
    await node.executor.sweep({kept.id})
    status = (await node.executor.controller(kept, {}, {})).status()
    assert status is not None
    assert status.pid > 0
    assert (await node.executor.controller(gone, {}, {})).status() is None
    assert len(list((node.state_dir / "containers").iterdir())) == 1


async def test_closing_the_executor_leaves_containers_running(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    before = (await node.started(task)).status()
    await node.replace()
    after = (await node.executor.controller(task, {}, {})).status()
    assert after == before


async def test_a_half_made_container_is_started_over(node: Node) -> None:
    task = node.task(["echo", "made"])
    controller = await node.executor.controller(task, {}, {})
    await controller.prepare()
    container = controller.container
    assert container is not None
    # As a daemon leaves it that dies while conmon works.
    record.save(
        container.directory, msgspec.structs.replace(container.record, phase=Phase.CREATING, runtime="crun")
    )
    await node.replace()
    await node.started(task)
    assert (await node.outcome(task)).out == "made\n"


async def test_a_container_lost_in_a_restart_of_the_host_is_reported(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    controller = await node.started(task)
    container = controller.container
    assert container is not None
    await node.close()
    assert container.record.supervisor is not None
    assert container.record.container is not None
    for process in (container.record.supervisor, container.record.container):
        os.kill(process.pid, signal.SIGKILL)
    await node.adopt()
    adopted = await node.executor.controller(task, {}, {})
    with pytest.raises(ContainerFailed) as failure:
        await adopted.wait()
    assert failure.value.exit_code in (137, 255)


async def test_a_damaged_record_is_cleaned_up(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    controller = await node.started(task)
    assert controller.container is not None
    (controller.container.directory / "container.json").write_text("{")
    await node.replace()
    assert (await node.executor.controller(task, {}, {})).status() is None
    assert list((node.state_dir / "containers").iterdir()) == []


async def test_two_nodes_on_one_kernel_do_not_see_each_other(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", f"{node.cgroup_parent}-other")
    other.base.mkdir()
    await other.open()
    task = Task(id="same", spec=TaskSpec(container_spec=ContainerSpec(image=IMAGE, args=("sleep", "1000"))))
    here, there = await node.started(task), await other.started(task)
    await other.executor.sweep(())
    await other.close()
    assert there.status() is None
    status = here.status()
    assert status is not None
    assert status.pid > 0
