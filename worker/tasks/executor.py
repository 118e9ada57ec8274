"""Runs tasks as containers of this host: the controllers of a node, and the sweep of what no task owns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime

from swarmcore.aio import Tasks
from swarmcore.errors import NotFound
from swarmcore.model.resources import Resources
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task
from worker.containers.log_records import LogLine
from worker.containers.registry import ContainerRegistry
from worker.runtime.node_resources import node_resources
from worker.tasks.container_task import ContainerTask, Payloads

log = logging.getLogger(__name__)


class ContainerExecutor:
    """Implements worker.tasks.controller.Executor. Containers without an owner are none of its business."""

    def __init__(self, containers: ContainerRegistry) -> None:
        self._containers = containers
        self._controllers: dict[str, ContainerTask] = {}
        self._steps = Tasks()

    async def controller(
        self, task: Task, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
    ) -> ContainerTask:
        payloads = Payloads(secrets=secrets, configs=configs)
        if (found := self._controllers.get(task.id)) is not None:
            found.payloads = payloads
            return found
        return self._controller(task, payloads)

    def _controller(self, task: Task, payloads: Payloads) -> ContainerTask:
        made = self._controllers[task.id] = ContainerTask(
            task, payloads, containers=self._containers, steps=self._steps, removed=self._removed
        )
        return made

    def _removed(self, task_id: str) -> None:
        self._controllers.pop(task_id, None)

    async def logs(
        self,
        task_id: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        container = self._containers.owned_by(task_id)
        if container is None:
            raise NotFound(f"task {task_id} has no container on this node")
        lines = self._containers.log_of(container, follow=follow, since=since, tail=tail)
        try:
            async for line in lines:
                yield line
        finally:
            await lines.aclose()

    async def sweep(self, known: Collection[str]) -> None:
        """Containers that are being prepared among them. All are tried; then the first failure is raised."""
        unknown = (self._containers.owners | self._controllers.keys()) - set(known)
        if unknown:
            log.info("removing containers of unknown tasks", extra={"count": len(unknown)})
        outcomes = await asyncio.gather(*map(self._discard, sorted(unknown)), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _discard(self, task_id: str) -> None:
        """After the step under way, which a kill makes short: it may wait for the container's end."""
        if (container := self._containers.owned_by(task_id)) is not None:
            await container.stop(0)
        controller = self._controllers.get(task_id) or self._controller(Task(id=task_id), Payloads())
        await controller.remove()

    async def resources(self) -> Resources:
        return node_resources()

    async def close(self) -> None:
        """Break off the steps under way; containers go on."""
        await self._steps.close()
