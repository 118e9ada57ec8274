"""One executor for tasks of every runtime: containers, and containers outside of services on a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Protocol

from swarmcore.model.resources import Resources
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import RuntimeType, Task
from worker.containers.log_records import LogLine
from worker.tasks.controller import Controller, Executor


class AttachmentControllers(Protocol):
    """What of `worker.tasks.attachment_requests.AttachmentRequests` is needed."""

    def controller(self, task: Task) -> Controller: ...


class Runtimes:
    """Implements worker.tasks.controller.Executor. All but controllers is a matter of containers."""

    def __init__(self, containers: Executor, attachments: AttachmentControllers) -> None:
        self._containers, self._attachments = containers, attachments

    async def controller(
        self, task: Task, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
    ) -> Controller:
        if task.spec.runtime is RuntimeType.ATTACHMENT:
            return self._attachments.controller(task)
        return await self._containers.controller(task, secrets, configs)

    def logs(
        self,
        task_id: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        return self._containers.logs(task_id, follow=follow, since=since, tail=tail)

    async def sweep(self, known: Collection[str]) -> None:
        await self._containers.sweep(known)

    async def resources(self) -> Resources:
        return await self._containers.resources()

    async def close(self) -> None:
        await self._containers.close()
