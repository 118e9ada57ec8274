"""The controller of a task that runs a container: it has the container made by the task's plan, and drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from msgspec import Struct

from swarmcore.aio import Tasks
from swarmcore.errors import SwarmError
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import ContainerStatus, Task
from worker.containers.container import Container, StartFailed
from worker.containers.networking import published_by
from worker.containers.registry import ContainerRegistry
from worker.tasks.container_plan import container_plan, drain_seconds, planned_files
from worker.tasks.controller import ContainerFailed

StepFailure = SwarmError | ContainerFailed | OSError


class Payloads(Struct, frozen=True, kw_only=True):
    """The content of a task's secrets and configs, by id."""

    secrets: Mapping[str, Secret] = {}
    configs: Mapping[str, Config] = {}


class ContainerTask:
    """Implements worker.tasks.controller.Controller. Steps run to their end even if the caller gives up waiting.

    `steps` owns the steps under way; `removed` hears that nothing is left of the task with this id.
    """

    def __init__(
        self,
        task: Task,
        payloads: Payloads,
        *,
        containers: ContainerRegistry,
        steps: Tasks,
        removed: Callable[[str], None],
    ) -> None:
        self._task, self.payloads = task, payloads
        self._containers, self._steps, self._removed = containers, steps, removed
        self._step = asyncio.Lock()

    @property
    def container(self) -> Container | None:
        return self._containers.owned_by(self._task.id)

    async def prepare(self) -> None:
        await self._whole(self._prepare(), "prepare")

    async def _prepare(self) -> None:
        await self._prepared()

    async def _prepared(self) -> Container:
        if (found := self.container) is not None:
            return found
        files = planned_files(self._task.spec.container, self.payloads.secrets, self.payloads.configs)
        return await self._containers.create(container_plan(self._task, files))

    async def start(self) -> None:
        await self._whole(self._start(), "start")
        container = self.container
        assert container is not None
        if container.ended.done() and (found := container.ended.result()).reason and found.code != 0:
            raise ContainerFailed(found.code, found.oom, found.reason)

    async def _start(self) -> None:
        container = await self._prepared()
        try:
            await container.start()
        except StartFailed as failure:
            raise ContainerFailed(failure.code, message=str(failure)) from None

    async def wait(self) -> int:
        container = self.container
        if container is None:
            raise ContainerFailed(255, message="the task has no container")
        found = await asyncio.shield(container.ended)
        if found.code != 0 or found.reason:
            message = f"task: non-zero exit ({found.code}): {found.reason}" if found.reason else ""
            raise ContainerFailed(found.code, found.oom, message)
        return 0

    async def shutdown(self) -> None:
        await self._whole(self._shutdown(), "shutdown")

    async def _shutdown(self) -> None:
        if (container := self.container) is not None:
            if container.running:
                await container.drain(drain_seconds(self._task))
            await container.stop()

    async def terminate(self) -> None:
        await self._whole(self._terminate(), "terminate")

    async def _terminate(self) -> None:
        if (container := self.container) is not None:
            await container.stop(0)

    async def remove(self) -> None:
        await self._whole(self._remove(), "remove")

    async def _remove(self) -> None:
        if (container := self.container) is not None:
            await self._containers.remove(container)
        self._removed(self._task.id)

    async def _whole(self, step: Coroutine[Any, Any, None], name: str) -> None:
        """Run `step` after the one under way; a caller that is cancelled leaves it running to its end.

        A half-made container would be nobody's: whoever stops the task next waits for the step.
        """
        running = self._steps.start(self._locked(step), f"{name} of task {self._task.id}")
        if (failure := await asyncio.shield(running)) is not None:
            raise failure

    async def _locked(self, step: Coroutine[Any, Any, None]) -> StepFailure | None:
        try:
            async with self._step:
                await step
        except (SwarmError, ContainerFailed, OSError) as error:
            return error
        finally:
            step.close()
        return None

    def status(self) -> ContainerStatus | None:
        container = self.container
        if container is None:
            return None
        found = container.ended.result() if container.ended.done() else None
        return ContainerStatus(
            container_id=container.record.id, pid=container.pid, exit_code=found.code if found else 0
        )

    def ports(self) -> tuple[PortConfig, ...]:
        container = self.container
        return published_by(container.record.sandbox) if container is not None else ()
