"""What a worker asks of whatever runs its tasks: the Controller of one task, the Executor of a node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime
from typing import Protocol

from swarmcore.model.endpoint import PortConfig
from swarmcore.model.resources import Resources
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import ContainerStatus, Task
from worker.containers.log_records import LogLine


class ContainerFailed(Exception):
    """The container could not be started, or ended with another exit code than 0."""

    def __init__(self, exit_code: int, oom: bool = False, message: str = "") -> None:
        text = message or f"task: non-zero exit ({exit_code})"
        if oom and not message:
            text += ": out of memory"
        super().__init__(text)
        self.exit_code = exit_code
        self.oom = oom


class Controller(Protocol):
    """Runs one task. Every call may be repeated, and `shutdown`, `terminate` and `remove` made at any time."""

    async def prepare(self) -> None:
        """Everything that can fail before the start: image, volumes, root file system, bundle."""
        ...

    async def start(self) -> None:
        """Return when the container runs; ContainerFailed if it cannot be started."""
        ...

    async def wait(self) -> int:
        """Return 0 when the container has ended well, else raise ContainerFailed."""
        ...

    async def shutdown(self) -> None:
        """Stop signal, grace period, SIGKILL; returns when the container has ended."""
        ...

    async def terminate(self) -> None:
        """SIGKILL; returns when the container has ended."""
        ...

    async def remove(self) -> None:
        """Leave nothing of the container, running or not."""
        ...

    def status(self) -> ContainerStatus | None:
        """What is known of the container, None before there is one."""
        ...

    def ports(self) -> tuple[PortConfig, ...]:
        """The ports that this node alone publishes for it (mode host), with the numbers chosen."""
        ...


class Executor(Protocol):
    async def controller(
        self, task: Task, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
    ) -> Controller:
        """The task's controller; a container of the task that lives already is adopted."""
        ...

    def logs(
        self,
        task_id: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        """The output of the task's container; NotFound if there is none on this node."""
        ...

    async def sweep(self, known: Collection[str]) -> None:
        """Remove the containers of all tasks that are not `known`."""
        ...

    async def resources(self) -> Resources:
        """What this node has."""
        ...

    async def close(self) -> None:
        """Stop watching; the containers go on."""
        ...
