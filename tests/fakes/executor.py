"""An Executor with real state: containers that live as long as the fake, whoever drives them.

What a test scripts per task: `fail_prepare`, `fail_start` (errors), `hang_prepare` (never returns). A
container ends by `exit`, as if its process had.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from swarmcore.errors import NotFound
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.resources import Resources
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import ContainerStatus, Task
from worker.containers.log_records import LogLine
from worker.tasks.controller import ContainerFailed, Controller


@dataclass
class FakeContainer:
    """`log` is every operation that changed it."""

    task: Task
    secrets: dict[str, bytes]
    log: list[str] = field(default_factory=list)
    running: bool = False
    exit_code: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[LogLine] = field(default_factory=list)
    more_lines: asyncio.Event = field(default_factory=asyncio.Event)

    def end(self, exit_code: int) -> None:
        self.running, self.exit_code = False, exit_code
        self.ended.set()
        self.more_lines.set()  # who follows sees that there will be none


class FakeExecutor:
    def __init__(self) -> None:
        self.containers: dict[str, FakeContainer] = {}
        self.removed: list[str] = []
        self.swept: list[str] = []
        self.fail_prepare: dict[str, Exception] = {}
        self.fail_start: dict[str, Exception] = {}
        self.fail_shutdown: dict[str, list[Exception]] = {}
        self.hang_prepare: set[str] = set()
        self.closed = False

    async def controller(
        self, task: Task, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
    ) -> Controller:
        return FakeController(self, task, {key: secret.spec.data for key, secret in secrets.items()})

    async def logs(
        self,
        task_id: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        if (container := self.containers.get(task_id)) is None:
            raise NotFound(f"task {task_id} has no container on this node")
        sent = 0 if tail is None else max(0, len(container.lines) - tail)
        while True:
            for line in container.lines[sent:]:
                if since is None or line.timestamp >= since:
                    yield line
            sent = len(container.lines)
            if not follow or container.ended.is_set():
                return
            container.more_lines.clear()
            await container.more_lines.wait()

    async def sweep(self, known: Collection[str]) -> None:
        for task_id in [t for t in self.containers if t not in known]:
            self.discard(task_id)
            self.swept.append(task_id)

    def discard(self, task_id: str) -> bool:
        """Whether there was a container; whoever waits for its end hears of it."""
        container = self.containers.pop(task_id, None)
        if container is not None and container.exit_code is None:
            container.end(137)
        return container is not None

    async def resources(self) -> Resources:
        return Resources(nano_cpus=2_000_000_000, memory_bytes=1 << 30)

    async def close(self) -> None:
        self.closed = True

    # -- the test's hand ----------------------------------------------------------------------------

    def exit(self, task_id: str, exit_code: int = 0) -> None:
        self.containers[task_id].end(exit_code)

    def write(self, task_id: str, text: str, stream: str = "stdout") -> None:
        container = self.containers[task_id]
        stamp = datetime.fromtimestamp(1_000_000 + len(container.lines), UTC)
        container.lines.append(LogLine(timestamp=stamp, stream=stream, data=text.encode()))
        container.more_lines.set()

    @property
    def running(self) -> set[str]:
        return {task_id for task_id, container in self.containers.items() if container.running}


class FakeController:
    def __init__(self, executor: FakeExecutor, task: Task, secrets: dict[str, bytes]) -> None:
        self._executor = executor
        self._task = task
        self._secrets = secrets

    @property
    def _container(self) -> FakeContainer | None:
        return self._executor.containers.get(self._task.id)

    async def prepare(self) -> None:
        if self._task.id in self._executor.hang_prepare:
            await asyncio.Event().wait()
        if (error := self._executor.fail_prepare.get(self._task.id)) is not None:
            raise error
        self._prepared().log.append("prepare")

    def _prepared(self) -> FakeContainer:
        return self._executor.containers.setdefault(self._task.id, FakeContainer(self._task, self._secrets))

    async def start(self) -> None:
        if (error := self._executor.fail_start.get(self._task.id)) is not None:
            raise error
        container = self._prepared()
        if not container.running and container.exit_code is None:
            container.running = True
            container.log.append("start")

    async def wait(self) -> int:
        if (container := self._container) is None:
            raise ContainerFailed(255, message="container is gone")
        await container.ended.wait()
        assert container.exit_code is not None
        if container.exit_code:
            raise ContainerFailed(
                exit_code=container.exit_code,
                oom=False,
                message=f"task: non-zero exit ({container.exit_code})",
            )
        return 0

    async def shutdown(self) -> None:
        if errors := self._executor.fail_shutdown.get(self._task.id):
            raise errors.pop(0)
        if (container := self._container) is not None and container.exit_code is None:
            container.log.append("shutdown")
            container.end(0 if container.running else 137)

    async def terminate(self) -> None:
        if (container := self._container) is not None and container.exit_code is None:
            container.log.append("terminate")
            container.end(137)

    async def remove(self) -> None:
        if self._executor.discard(self._task.id):
            self._executor.removed.append(self._task.id)

    def ports(self) -> tuple[PortConfig, ...]:
        return ()

    def status(self) -> ContainerStatus | None:
        container = self._container
        if container is None:
            return None
        pid = 42 if container.running else 0
        return ContainerStatus(container_id=f"c-{self._task.id}", pid=pid, exit_code=container.exit_code or 0)
