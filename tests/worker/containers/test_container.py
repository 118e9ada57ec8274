"""The life of containers with real conmon, crun and runc: starts, ends, stops, output."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from swarmcore.aio import owned
from swarmcore.errors import Conflict
from swarmcore.model.base import Driver
from swarmcore.model.container import (
    Mount,
    MountType,
)
from swarmcore.model.task import Task
from tests.worker.containers.conftest import Node
from worker.runtime.spawner import hybrid_mounts
from worker.runtime.spawner_client import Spawner
from worker.runtime.tools import preflight
from worker.tasks.controller import ContainerFailed

pytestmark = pytest.mark.root


async def test_a_command_that_ends_well_returns_zero(node: Node) -> None:
    task = node.task(["true"])
    controller = await node.started(task)
    assert await controller.wait() == 0
    status = controller.status()
    assert status is not None
    assert (len(status.container_id), status.pid, status.exit_code) == (64, 0, 0)


async def test_the_exit_code_is_reported(node: Node) -> None:
    result = await node.run("exit 42")
    assert (result.code, result.oom, result.message) == (42, False, "task: non-zero exit (42)")


async def test_a_missing_program_is_named_and_gives_127(node: Node) -> None:
    task = node.task(["no-such-program"])
    with pytest.raises(ContainerFailed, match="no-such-program") as failure:
        await node.started(task)
    assert failure.value.exit_code == 127


async def test_a_file_that_is_no_program_gives_126(node: Node) -> None:
    with pytest.raises(ContainerFailed) as failure:
        await node.started(node.task(["/etc/passwd"]))
    assert failure.value.exit_code == 126


async def test_a_terminal_is_given_on_request(node: Node) -> None:
    result = await node.run("test -t 0 && tty; echo $TERM", tty=True)
    assert result.out.split() == ["/dev/pts/0", "xterm"]


async def test_the_stop_signal_comes_first_and_the_container_may_clean_up(node: Node) -> None:
    task = node.task(
        "trap 'echo bye; exit 9' USR1; echo up; while :; do sleep 0.05; done", stop_signal="SIGUSR1"
    )
    controller = await node.started(task)
    await _line(node, task.id, b"up\n")
    await controller.shutdown()
    result = await node.outcome(task)
    assert (result.code, result.out) == (9, "up\nbye\n")


async def test_a_container_that_ignores_the_stop_signal_is_killed_after_its_grace_period(node: Node) -> None:
    task = node.task("trap '' TERM; echo up; while :; do sleep 1; done", stop_grace_period=300_000_000)
    controller = await node.started(task)
    await _line(node, task.id, b"up\n")
    before = asyncio.get_running_loop().time()
    await controller.shutdown()
    assert 0.3 <= asyncio.get_running_loop().time() - before < 5
    assert (await node.outcome(task)).code == 137


async def test_terminate_kills_at_once_and_may_be_repeated(node: Node) -> None:
    task = node.task("trap '' TERM; while :; do sleep 1; done")
    controller = await node.started(task)
    await controller.terminate()
    await controller.terminate()
    assert (await node.outcome(task)).code == 137


async def test_a_container_killed_from_outside_is_noticed(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    controller = await node.started(task)
    status = controller.status()
    assert status is not None
    os.kill(status.pid, 9)
    assert (await node.outcome(task)).code == 137


async def test_a_container_whose_supervisor_dies_is_ended(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    controller = await node.started(task)
    assert controller.container is not None
    supervisor = controller.container.record.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, 9)
    result = await node.outcome(task)
    assert (result.code, "conmon died" in result.message) == (137, True)


async def test_the_spawner_is_replaced_when_it_dies(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    controller = await node.started(task)
    assert node.containers.engine.spawner.pid is not None
    os.kill(node.containers.engine.spawner.pid, 9)
    assert (await node.run(["echo", "again"])).out == "again\n"
    await controller.terminate()
    assert (await node.outcome(task)).code == 137


async def test_a_prepared_container_starts_although_the_spawner_died_between(node: Node) -> None:
    task = node.task(["echo", "hello"])
    controller = await node.executor.controller(task, {}, {})
    await controller.prepare()
    assert node.containers.engine.spawner.pid is not None
    os.kill(node.containers.engine.spawner.pid, 9)
    await controller.start()
    assert (await node.outcome(task)).out == "hello\n"


async def test_many_containers_start_at_once(node: Node) -> None:
    results = await asyncio.gather(*(node.run(["echo", str(number)]) for number in range(16)))
    assert [result.out for result in results] == [f"{number}\n" for number in range(16)]


async def test_a_start_that_is_broken_off_leaves_a_container_that_can_be_stopped(node: Node) -> None:
    task = node.task(["sleep", "1000"])
    controller = await node.executor.controller(task, {}, {})
    await controller.prepare()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await controller.start()
    await controller.terminate()
    container = controller.container
    assert container is not None
    assert not container.running
    assert controller.status() is not None


async def test_removing_a_running_container_leaves_nothing(node: Node) -> None:
    controller = await node.started(node.task(["sleep", "1000"]))
    await controller.remove()
    await controller.remove()
    assert [entry for entry in node.leftovers() if "cgroup" not in entry and "spawner" not in entry] == []


async def test_an_image_in_use_is_kept(node: Node) -> None:
    controller = await node.started(node.task(["sleep", "1000"]))
    with pytest.raises(Conflict, match="used by 1 container"):
        await node.images.remove("pyswarm/demo")
    await controller.remove()
    assert (await node.images.remove("pyswarm/demo")).deleted


async def test_the_demo_image_serves_its_host_name_and_stops_at_once(node: Node) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    task = node.task((), network="host", hostname="web-1", env=(f"PORT={port}",))
    controller = await node.started(task)
    await _line(node, task.id, f"web-1: listening on port {port}\n".encode())
    answer = await _http_get(port)
    assert answer.startswith(b"HTTP/1.")
    assert answer.endswith(b"web-1\n")
    before = asyncio.get_running_loop().time()
    await controller.shutdown()
    assert asyncio.get_running_loop().time() - before < 5
    assert await controller.wait() == 0


async def test_runc_takes_over_where_crun_refuses_the_host(node: Node) -> None:
    if not hybrid_mounts(Path("/proc/self/mountinfo").read_text()):
        pytest.skip("crun refuses only hosts with hybrid cgroups")
    await node.replace(hide_unified=False)
    task = node.task("exit 5")
    controller = await node.started(task)
    assert (await node.outcome(task)).code == 5
    assert controller.container is not None
    assert controller.container.record.runtime == "runc"


async def test_runc_alone_runs_containers(node: Node) -> None:
    await node.replace(tools=preflight(runtimes=("runc",)))
    result = await node.run("grep -E 'CapEff|Seccomp:' /proc/self/status; ip a show lo; exit 3")
    assert (
        result.code,
        "00000000a80425fb" in result.out,
        "Seccomp:\t2" in result.out,
        "UP" in result.out,
    ) == (
        3,
        True,
        True,
        True,
    )


async def test_status_is_none_before_there_is_a_container(node: Node) -> None:
    controller = await node.executor.controller(node.task(["true"]), {}, {})
    assert controller.status() is None
    await controller.shutdown()
    await controller.remove()


async def test_logs_carry_streams_times_and_partial_lines(node: Node) -> None:
    before = datetime.now(UTC)
    task = node.task("echo one; echo two >&2; printf three")
    await node.started(task)
    await node.outcome(task)
    lines = [line async for line in node.executor.logs(task.id)]
    assert {(line.stream, line.data) for line in lines} == {
        ("stdout", b"one\n"),
        ("stderr", b"two\n"),
        ("stdout", b"three\n"),
    }
    assert all(
        before.timestamp() - 1 <= line.timestamp.timestamp() <= datetime.now(UTC).timestamp()
        for line in lines
    )


@pytest.mark.parametrize("place", ["task", "spec"])
@pytest.mark.parametrize("tty", [False, True])
async def test_the_log_driver_none_keeps_nothing(node: Node, place: str, tty: bool) -> None:
    """Whether the service's spec says it or the swarm's default."""
    task, driver = node.task("echo secret; exit 3", tty=tty), Driver(name="none")
    task = replace(task, log_driver=driver) if place == "task" else _logging_to(task, driver)
    await node.started(task)
    assert (await node.outcome(task)).code == 3
    assert [line async for line in node.executor.logs(task.id)] == []
    kept = [path for path in (node.state_dir / "containers").rglob("*log*") if path.is_file()]
    assert [path for path in kept if b"secret" in path.read_bytes()] == []


def _logging_to(task: Task, driver: Driver) -> Task:
    return replace(task, spec=replace(task.spec, log_driver=driver))


async def test_following_logs_ends_with_the_container(node: Node) -> None:
    task = node.task("echo a; while ! test -e /gate/open; do sleep 0.02; done; echo b", mounts=(_gate(node),))
    await node.started(task)
    seen: list[bytes] = []
    async for line in node.executor.logs(task.id, follow=True):
        seen.append(line.data)
        if line.data == b"a\n":
            (node.base / "gate" / "open").touch()
    assert seen == [b"a\n", b"b\n"]


def _gate(node: Node) -> Mount:
    (node.base / "gate").mkdir()
    return Mount(type=MountType.BIND, source=str(node.base / "gate"), target="/gate")


async def _line(node: Node, task_id: str, wanted: bytes) -> None:
    """Return when the container has written `wanted`."""
    lines = node.executor.logs(task_id, follow=True)
    assert isinstance(lines, AsyncGenerator)
    async with asyncio.timeout(20):
        async for line in lines:
            if line.data == wanted:
                break
        else:
            raise AssertionError(f"the container ended without saying {wanted!r}")
    await lines.aclose()


async def _http_get(port: int) -> bytes:
    async with asyncio.timeout(20):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            try:
                return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()


async def test_others_hear_when_a_container_ends(node: Node) -> None:
    controller = await node.started(node.task("exec sleep 60"))
    status = controller.status()
    assert status is not None
    containers, container_id = node.containers, status.container_id
    assert containers.lives(container_id)
    assert not containers.lives(container_id[:12])
    await containers.ended("no such container")
    async with owned(containers.ended(container_id), "end") as end:
        await controller.terminate()
        await end
    assert not containers.lives(container_id)
    await controller.remove()
    await containers.ended(container_id)


def _spawners() -> int:
    """Processes of this one that serve as spawners."""
    found = 0
    for thread in Path("/proc/self/task").iterdir():
        try:
            for pid in (thread / "children").read_text().split():
                found += b"worker.runtime.spawner" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # a thread, or a process, that has just ended
    return found


@pytest.mark.parametrize("turns", [1, 3, 30])
async def test_a_spawner_is_started_once_whoever_stops_waiting_for_it(turns: int) -> None:
    before, spawner = _spawners(), Spawner()
    try:
        async with owned(spawner.mount(()), "first") as first:
            for _ in range(turns):
                await asyncio.sleep(0)
            first.cancel()
            assert await spawner.mount(()) == []
            assert _spawners() == before + 1
    finally:
        await spawner.close()
    assert _spawners() == before
