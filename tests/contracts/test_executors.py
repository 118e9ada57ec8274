"""What runs a node's tasks: containers of this host (these need root), and the fake of the tests of task managers."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from swarmcore.errors import NotFound
from swarmcore.model.task import Task
from tests.fakes.executor import FakeExecutor
from tests.worker import sample
from tests.worker.containers.conftest import Node
from worker.tasks.controller import ContainerFailed, Controller, Executor


class Bed(Protocol):
    """An executor; `task` is one that says `lines` when it runs and ends with `code`, or lasts where that is None."""

    @property
    def executor(self) -> Executor: ...

    def task(self, code: int | None = None, lines: Sequence[str] = ()) -> Task: ...

    async def started(self, task: Task) -> Controller: ...


class OnHost:
    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def executor(self) -> Executor:
        return self.node.executor

    def task(self, code: int | None = None, lines: Sequence[str] = ()) -> Task:
        said = "".join(f"echo {line}; " for line in lines)
        return self.node.task(said + ("exec sleep 3600" if code is None else f"exit {code}"))

    async def started(self, task: Task) -> Controller:
        controller = await self.executor.controller(task, {}, {})
        await controller.prepare()
        await controller.start()
        return controller


class Faked:
    def __init__(self) -> None:
        self.executor = FakeExecutor()
        self._play: dict[str, tuple[int | None, Sequence[str]]] = {}

    def task(self, code: int | None = None, lines: Sequence[str] = ()) -> Task:
        made = sample.task(f"t{len(self._play)}")
        self._play[made.id] = code, lines
        return made

    async def started(self, task: Task) -> Controller:
        controller = await self.executor.controller(task, {}, {})
        await controller.prepare()
        await controller.start()
        code, lines = self._play[task.id]
        if task.id in self.executor.running:
            for line in lines:
                self.executor.write(task.id, line)
            if code is not None:
                self.executor.exit(task.id, code)
        return controller


@asynccontextmanager
async def _on_host(folder: Path) -> AsyncIterator[Bed]:
    node = Node(folder, f"pyswarm-test-{secrets.token_hex(4)}")
    await node.open()
    try:
        yield OnHost(node)
    finally:
        await node.executor.sweep(())
        await node.close()
    assert node.leftovers() == []


@asynccontextmanager
async def _faked(folder: Path) -> AsyncIterator[Bed]:
    yield Faked()


@pytest.fixture(
    params=[pytest.param(_on_host, marks=pytest.mark.root, id="on the host"), pytest.param(_faked, id="fake")]
)
async def bed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bed]:
    async with request.param(tmp_path) as made:
        yield made


async def failure_of(controller: Controller) -> ContainerFailed:
    with pytest.raises(ContainerFailed) as failed:
        async with asyncio.timeout(20):
            await controller.wait()
    return failed.value


async def said(bed: Bed, task: Task, *, follow: bool = False, tail: int | None = None) -> list[str]:
    async with asyncio.timeout(20):
        lines = bed.executor.logs(task.id, follow=follow, tail=tail)
        return [line.data.decode().strip() async for line in lines]


async def test_a_container_runs_and_ends_well(bed: Bed) -> None:
    task = bed.task(0, ["one", "two"])
    controller = await bed.executor.controller(task, {}, {})
    assert controller.status() is None
    controller = await bed.started(task)
    assert (status := controller.status()) is not None and status.container_id
    assert await controller.wait() == 0
    assert await controller.wait() == 0
    assert await said(bed, task) == ["one", "two"]
    assert await said(bed, task, tail=1) == ["two"]
    assert await said(bed, task, follow=True) == ["one", "two"]


async def test_a_container_that_ends_badly_says_how(bed: Bed) -> None:
    controller = await bed.started(bed.task(3))
    failed = await failure_of(controller)
    assert (failed.exit_code, failed.oom, str(failed)) == (3, False, "task: non-zero exit (3)")
    assert (await failure_of(controller)).exit_code == 3
    assert (status := controller.status()) is not None and status.exit_code == 3
    await controller.start()  # it has been started once, and is not again
    assert (await failure_of(controller)).exit_code == 3


async def test_every_step_may_be_repeated_and_makes_one_container(bed: Bed) -> None:
    task = bed.task()
    controller = await bed.executor.controller(task, {}, {})
    await controller.prepare()
    first = controller.status()
    await controller.prepare()
    assert first is not None and controller.status() == first
    await controller.start()
    running = controller.status()
    await controller.start()
    await controller.prepare()
    assert running is not None and controller.status() == running
    assert running.container_id == first.container_id and running.pid > 0
    assert await said(bed, task) == []
    for _ in range(2):
        await controller.terminate()
    assert (await failure_of(controller)).exit_code == 137


async def test_a_start_prepares_what_is_not_prepared(bed: Bed) -> None:
    task = bed.task()
    controller = await bed.executor.controller(task, {}, {})
    await controller.start()
    assert (status := controller.status()) is not None and status.pid > 0


async def test_what_is_stopped_before_its_start_never_runs(bed: Bed) -> None:
    task = bed.task(0, ["I ran"])
    controller = await bed.executor.controller(task, {}, {})
    await controller.prepare()
    await controller.shutdown()
    before = await failure_of(controller)
    await bed.started(task)
    assert (await failure_of(controller)).exit_code == before.exit_code
    assert await said(bed, task) == []


@pytest.mark.parametrize("how", ["terminate", "remove"])
async def test_who_waits_hears_of_the_end(bed: Bed, how: str) -> None:
    controller = await bed.started(bed.task())
    waiting = asyncio.ensure_future(failure_of(controller))  # noqa: TID251
    await asyncio.sleep(0)
    await getattr(controller, how)()
    assert (await waiting).exit_code == 137


async def test_without_a_container_there_is_nothing_to_stop_or_to_wait_for(bed: Bed) -> None:
    task = bed.task()
    controller = await bed.executor.controller(task, {}, {})
    await controller.shutdown()
    await controller.terminate()
    await controller.remove()
    assert controller.status() is None and controller.ports() == ()
    assert (await failure_of(controller)).exit_code == 255
    with pytest.raises(NotFound, match=task.id):
        await said(bed, task)


@pytest.mark.parametrize("running", [True, False])
async def test_nothing_is_left_of_what_is_removed(bed: Bed, running: bool) -> None:
    task = bed.task(None if running else 0)
    controller = await bed.started(task)
    if not running:
        await controller.wait()
    await controller.remove()
    await controller.remove()
    assert controller.status() is None
    with pytest.raises(NotFound):
        await said(bed, task)


async def test_whoever_asks_for_a_task_gets_the_container_that_there_is(bed: Bed) -> None:
    task = bed.task()
    status = (await bed.started(task)).status()
    again = await bed.executor.controller(task, {}, {})
    assert status is not None and again.status() == status


async def test_a_sweep_removes_what_nobody_knows_and_nothing_else(bed: Bed) -> None:
    kept, unknown, ended = bed.task(), bed.task(), bed.task(0)
    controllers = [await bed.started(each) for each in (kept, unknown, ended)]
    await bed.executor.sweep({kept.id, "never-seen"})
    assert [each.status() is None for each in controllers] == [False, True, True]
    await bed.executor.sweep(())
    assert controllers[0].status() is None


async def test_who_follows_a_log_is_let_go_when_the_container_ends(bed: Bed) -> None:
    task = bed.task(None, ["one"])
    controller = await bed.started(task)
    following = asyncio.ensure_future(said(bed, task, follow=True))  # noqa: TID251
    await asyncio.sleep(0)
    await controller.terminate()
    assert await following in (["one"], [])  # killed before or after it spoke


async def test_a_node_has_something_to_give(bed: Bed) -> None:
    resources = await bed.executor.resources()
    assert resources.nano_cpus > 0 and resources.memory_bytes > 0
