"""One task on a node, driven against an executor with real state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

from swarmcore.aio import Backoff, owned
from swarmcore.clock import RealClock
from swarmcore.errors import NotFound, Unavailable
from swarmcore.model.container import ContainerSpec
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.fakes.executor import FakeExecutor
from tests.worker.sample import DESCRIPTION, secret, task, until, with_secret
from worker.tasks.dependencies import Dependencies
from worker.tasks.manager import TaskManager


class Bench:
    def __init__(self) -> None:
        self.executor = FakeExecutor()
        self.dependencies = Dependencies()
        self.seen: list[TaskStatus] = []

    @asynccontextmanager
    async def managed(self, assigned: Task) -> AsyncIterator[TaskManager]:
        manager = TaskManager(
            assigned,
            executor=self.executor,
            dependencies=self.dependencies,
            description=lambda: DESCRIPTION,
            report=lambda _, status: self.seen.append(status),
            clock=RealClock(),
            backoff=Backoff(Random(1), first=0.001, limit=0.002),
        )
        async with owned(manager.run(), "manager"):
            yield manager

    @property
    def states(self) -> list[TaskState]:
        return [status.state for status in self.seen]


S = TaskState


async def test_a_task_climbs_to_running_and_completes() -> None:
    bench = Bench()
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
        bench.executor.exit("t1", 0)
        await until(lambda: manager.status.state is S.COMPLETE)
    assert bench.states == [S.ACCEPTED, S.PREPARING, S.READY, S.STARTING, S.RUNNING, S.COMPLETE]
    assert bench.seen[-2].container_status is not None
    assert bench.seen[-2].container_status.container_id == "c-t1"


async def test_a_delayed_task_waits_ready_until_it_may_run() -> None:
    bench = Bench()
    async with bench.managed(task(desired=S.READY)) as manager:
        await until(lambda: manager.status.state is S.READY)
        manager.reassign(task(desired=S.RUNNING))
        await until(lambda: bench.executor.running == {"t1"})


async def test_a_failing_preparation_rejects_the_task_with_its_reason() -> None:
    bench = Bench()
    bench.executor.fail_prepare["t1"] = NotFound("no such image: demo")
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state.is_final)
    assert (manager.status.state, manager.status.err) == (S.REJECTED, "no such image: demo")


async def test_a_wrong_placeholder_rejects_the_task() -> None:
    bench = Bench()
    async with bench.managed(task(container=ContainerSpec(env=("A={{.Nothing}}",)))) as manager:
        await until(lambda: manager.status.state.is_final)
    assert manager.status.state is S.REJECTED
    assert "{{.Nothing}}" in manager.status.err


async def test_a_failing_start_fails_the_task_even_by_a_fault_of_ours() -> None:
    bench = Bench()
    bench.executor.fail_start["t1"] = OSError("disk is full")
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state.is_final)
    assert (manager.status.state, manager.status.err) == (S.FAILED, "OSError: disk is full")


async def test_a_non_zero_exit_fails_the_task_with_its_code() -> None:
    bench = Bench()
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
        bench.executor.exit("t1", 3)
        await until(lambda: manager.status.state is S.FAILED)
    assert manager.status.err == "task: non-zero exit (3)"
    assert manager.status.container_status is not None
    assert manager.status.container_status.exit_code == 3


async def test_shutdown_stops_a_running_task_and_keeps_its_container() -> None:
    bench = Bench()
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
        manager.reassign(task(desired=S.SHUTDOWN))
        await until(lambda: manager.status.state is S.SHUTDOWN)
    assert bench.executor.containers["t1"].log == ["prepare", "start", "shutdown"]


async def test_a_desired_state_never_goes_back() -> None:
    bench = Bench()
    async with bench.managed(task(desired=S.SHUTDOWN)) as manager:
        manager.reassign(task(desired=S.RUNNING))
        await until(lambda: manager.status.state is S.SHUTDOWN)
    assert bench.executor.containers == {}


async def test_a_hanging_preparation_is_broken_off_by_a_shutdown() -> None:
    bench = Bench()
    bench.executor.hang_prepare.add("t1")
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state is S.PREPARING)
        manager.reassign(task(desired=S.SHUTDOWN))
        await until(lambda: manager.status.state is S.SHUTDOWN)
    assert bench.executor.containers == {}


async def test_a_stop_that_fails_is_tried_again() -> None:
    bench = Bench()
    bench.executor.fail_shutdown["t1"] = [Unavailable("busy"), OSError("busy")]
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
        manager.reassign(task(desired=S.SHUTDOWN))
        await until(lambda: manager.status.state is S.SHUTDOWN)
    assert bench.executor.running == set()


async def test_a_removed_task_is_stopped_and_its_container_deleted() -> None:
    bench = Bench()
    async with bench.managed(task()) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
        manager.remove()
        await until(lambda: bench.executor.removed == ["t1"])
    assert manager.status.state is S.SHUTDOWN


async def test_a_task_waits_for_its_secret_before_it_is_prepared() -> None:
    bench = Bench()
    async with bench.managed(task(container=with_secret())) as manager:
        await until(lambda: manager.status.state is S.PREPARING)
        bench.dependencies.put([secret()], [])
        await until(lambda: manager.status.state is S.RUNNING)
    assert bench.executor.containers["t1"].secrets == {"x1": b"hush"}


async def test_a_templated_secret_is_filled_in_for_the_task() -> None:
    bench = Bench()
    bench.dependencies.put([secret(data=b'{{.Service.Name}} {{env "COLOUR"}}', templated=True)], [])
    async with bench.managed(task(container=with_secret())) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
    assert bench.executor.containers["t1"].secrets == {"x1": b"web blue"}


async def test_a_restarted_agent_adopts_a_running_container_without_secrets() -> None:
    bench = Bench()
    bench.dependencies.put([secret()], [])
    async with bench.managed(task(container=with_secret())) as manager:
        await until(lambda: manager.status.state is S.RUNNING)
    bench.dependencies, bench.seen = Dependencies(), []
    async with bench.managed(task(container=with_secret(), state=S.RUNNING)) as manager:
        await until(lambda: manager._controller is not None)
        assert bench.seen == []
        bench.executor.exit("t1", 0)
        await until(lambda: manager.status.state is S.COMPLETE)
    assert bench.executor.containers["t1"].log == ["prepare", "start"]


async def test_a_running_task_whose_container_is_gone_has_failed() -> None:
    bench = Bench()
    async with bench.managed(task(state=S.RUNNING)) as manager:
        await until(lambda: manager.status.state is S.FAILED)
    assert manager.status.err == "container is gone"
