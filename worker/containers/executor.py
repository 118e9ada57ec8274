"""Runs tasks as containers: one executor a daemon, everything it makes below its directories and cgroup parent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.aio import Tasks, in_thread
from swarmcore.clock import REAL_CLOCK, Clock
from swarmcore.errors import FailedPrecondition, Invalid, NotFound, SwarmError
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.resources import Resources
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import ContainerStatus, Task
from swarmcore.process.faults import Faults
from worker.containers import preparation, record
from worker.containers.container import Container, Engine, discard
from worker.containers.log_records import LogLine
from worker.containers.logs import read_log
from worker.containers.networking import Isolated, Networking, published_by
from worker.containers.preparation import Payloads
from worker.containers.record import Phase, Places
from worker.images.store import ImageStore
from worker.runtime.cgroups import Cgroups
from worker.runtime.crun import OciRuntime
from worker.runtime.descriptors import Descriptors, Limit, of_this_process
from worker.runtime.inotify import Inotify
from worker.runtime.node_resources import node_resources
from worker.runtime.spawner_client import Spawner
from worker.runtime.tools import Tools
from worker.tasks.controller import ContainerFailed
from worker.volumes.local import Volumes

log = logging.getLogger(__name__)
StepFailure = SwarmError | ContainerFailed | OSError
_PARALLEL_STARTS = 8  # the kernel's waits for RCU overlap; more only queue at the processors
_LOG_LIMIT = 64 << 20


class ContainerController:
    """The container of one task. Steps run to their end even if the caller gives up waiting."""

    def __init__(self, executor: ContainerExecutor, task: Task, payloads: Payloads) -> None:
        self._executor = executor
        self._task = task
        self._payloads = payloads
        self._step = asyncio.Lock()

    @property
    def container(self) -> Container | None:
        return self._executor.container_of(self._task.id)

    def update(self, payloads: Payloads) -> None:
        self._payloads = payloads

    async def prepare(self) -> None:
        await self._whole(self._prepare(), "prepare")

    async def _prepare(self) -> None:
        if self.container is None:
            await self._executor.prepare(self._task, self._payloads)

    async def start(self) -> None:
        await self._whole(self._start(), "start")
        container = self.container
        assert container is not None
        if container.ended.done() and (found := container.ended.result()).reason and found.code != 0:
            raise ContainerFailed(found.code, found.oom, found.reason)

    async def _start(self) -> None:
        await self._prepare()
        container = self.container
        assert container is not None
        await container.start()

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
        await self._whole(self._stop(None), "shutdown")

    async def terminate(self) -> None:
        await self._whole(self._stop(0), "terminate")

    async def _stop(self, grace_seconds: float | None) -> None:
        if (container := self.container) is None:
            return
        sandbox = container.record.sandbox
        if grace_seconds is None and container.running and sandbox is not None:
            await self._executor.engine.networking.drain(sandbox, self._task)
        await container.stop(grace_seconds)

    async def remove(self) -> None:
        await self._whole(self._executor.remove(self._task.id), "remove")

    async def _whole(self, step: Coroutine[Any, Any, None], name: str) -> None:
        """Run `step` after the one under way; a caller that is cancelled leaves it running to its end.

        A half-made container would be nobody's: whoever stops the task next waits for the step.
        """
        failure = await asyncio.shield(
            self._executor.background(self._locked(step), f"{name} of task {self._task.id}")
        )
        if failure is not None:
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


class ContainerExecutor:
    """`await open()` adopts what an earlier daemon left running; `await close()` leaves it running."""

    def __init__(
        self,
        *,
        state_dir: Path,
        run_dir: Path,
        images: ImageStore,
        tools: Tools,
        cgroup_parent: str,
        hostname: str,
        networking: Networking | None = None,
        clock: Clock = REAL_CLOCK,
        hide_unified: bool = True,
        log_limit: int = _LOG_LIMIT,
        faults: Faults | None = None,
        limit: Limit | None = None,
        descriptors: Descriptors | None = None,
    ) -> None:
        """`limit`: of file descriptors in containers, where it is not this process's; `descriptors` are this one's."""
        self._descriptors = descriptors or of_this_process()
        self._faults = faults or Faults()
        self.volumes = Volumes(state_dir / "volumes")
        self._hostname = hostname
        self._places = Places(state_dir, run_dir)
        self._tools = tools
        self._images = images
        self._cgroup_parent = cgroup_parent
        self._clock = clock
        self._networking = networking or Isolated(preparation.host_text("/etc/resolv.conf"))
        self._spawner = Spawner(hide_unified=hide_unified, descriptors=limit)
        self._log_limit = log_limit
        self._tasks = Tasks()
        self._containers: dict[str, Container] = {}  # by task
        self._controllers: dict[str, ContainerController] = {}
        self._engine: Engine | None = None
        self._inotify: Inotify | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the executor is not open"
        return self._engine

    @property
    def spawner(self) -> Spawner:
        return self._spawner

    async def open(self) -> None:
        cgroups = Cgroups(self._cgroup_parent)
        if not cgroups.available:
            raise FailedPrecondition("no control groups are mounted on this host", "mount /sys/fs/cgroup")
        self._places.make()
        self._engine = Engine(
            conmon=self._tools.conmon,
            runtimes={
                tool.name: OciRuntime(tool, self._places.runtimes, self._spawner)
                for tool in self._tools.runtimes
            },
            spawner=self._spawner,
            images=self._images,
            volumes=self.volumes,
            networking=self._networking,
            cgroups=cgroups,
            places=self._places,
            clock=self._clock,
            tasks=self._tasks,
            starts=asyncio.Semaphore(_PARALLEL_STARTS),
            log_limit=self._log_limit,
            faults=self._faults,
        )
        self._inotify = Inotify()
        await self._adopt_all()

    async def _adopt_all(self) -> None:
        for folder in sorted(self._places.containers.iterdir()):
            known = await asyncio.to_thread(record.load, folder)
            if known is None or known.id != folder.name or known.task_id in self._containers:
                log.warning("removing the rest of a container", extra={"container": folder.name})
                await discard(self.engine, folder.name)
                continue
            container = Container(self.engine, known)
            held = known.anonymous_volumes
            if known.phase is not Phase.EXITED:
                held += known.volumes
            for name in held:
                self.volumes.hold(name, known.id)
            self._containers[known.task_id] = container
        # Before anybody watches their end, which gives back what is adopted here.
        await self.engine.networking.adopt(
            {
                container.record.id: (container.record.sandbox, container.pid)
                for container in self._containers.values()
                if container.record.sandbox is not None and container.record.phase is not Phase.EXITED
            }
        )
        for container in self._containers.values():
            await container.adopt()

    # -- the Executor protocol -----------------------------------------------------------------------
    async def controller(
        self, task: Task, secrets: Mapping[str, Secret], configs: Mapping[str, Config]
    ) -> ContainerController:
        payloads = Payloads(secrets=secrets, configs=configs)
        if (found := self._controllers.get(task.id)) is not None:
            found.update(payloads)
            return found
        return self._controllers.setdefault(task.id, ContainerController(self, task, payloads))

    async def logs(
        self,
        task_id: str,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncIterator[LogLine]:
        container = self._containers.get(task_id)
        if container is None:
            raise NotFound(f"task {task_id} has no container on this node")
        assert self._inotify is not None
        lines = read_log(
            container.log_file, self._inotify, container.ended, follow=follow, since=since, last=tail
        )
        try:
            async for line in lines:
                yield line
        finally:
            await lines.aclose()

    async def sweep(self, known: Collection[str]) -> None:
        """Containers that are being prepared among them. All are tried; then the first failure is raised."""
        unknown = (self._containers.keys() | self._controllers.keys()) - set(known)
        if unknown:
            log.info("removing containers of unknown tasks", extra={"count": len(unknown)})
        outcomes = await asyncio.gather(*map(self._discard, sorted(unknown)), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _discard(self, task_id: str) -> None:
        """After the step under way, which a kill makes short: it may wait for the container's end."""
        if (container := self._containers.get(task_id)) is not None:
            await container.stop(0)
        controller = self._controllers.get(task_id)
        if controller is None:
            nothing = Payloads(secrets={}, configs={})
            controller = self._controllers[task_id] = ContainerController(self, Task(id=task_id), nothing)
        await controller.remove()

    async def resources(self) -> Resources:
        return node_resources()

    async def close(self) -> None:
        await self._tasks.close()
        if self._inotify is not None:
            self._inotify.close()
        await self._spawner.close()
        if self._engine is not None and not self._containers:
            self._engine.cgroups.remove_parent()

    @property
    def running(self) -> int:
        """How many containers have not ended."""
        return sum(1 for container in self._containers.values() if container.running)

    # -- for the controllers -------------------------------------------------------------------------
    def container_of(self, task_id: str) -> Container | None:
        return self._containers.get(task_id)

    def find(self, text: str) -> Container:
        """A container by its id, the beginning of it, or its name. NotFound, or Invalid if it could be several."""
        every = self._containers.values()
        hits = [c for c in every if text in (c.record.id, c.name)]
        hits = hits or [c for c in every if text and c.record.id.startswith(text)]
        if len(hits) > 1:
            raise Invalid(f"container {text} is ambiguous", "give more of its id")
        if not hits:
            raise NotFound(f"No such container: {text}")
        return hits[0]

    def has(self, text: str) -> bool:
        """Whether `text` is of a container here, or of several."""
        try:
            self.find(text)
        except NotFound:
            return False
        except Invalid:
            return True
        return True

    def sandbox_is(self, container_id: str, sandbox: SandboxSpec) -> None:
        """The container joined or left a network."""
        for container in self._containers.values():
            if container.record.id == container_id:
                container.sandbox_is(sandbox)

    def lives(self, container_id: str) -> bool:
        """There is this very container (full id), and it has not ended."""
        return any(c.record.id == container_id and not c.ended.done() for c in self._containers.values())

    async def ended(self, container_id: str) -> None:
        """Return when the container has ended; at once if there is none."""
        for container in self._containers.values():
            if container.record.id == container_id:
                await asyncio.shield(container.ended)
                return

    def background(
        self, step: Coroutine[Any, Any, StepFailure | None], name: str
    ) -> asyncio.Task[StepFailure | None]:
        return self._tasks.start(step, name)

    async def prepare(self, task: Task, payloads: Payloads) -> None:
        await in_thread(self._descriptors.check)
        self._containers[task.id] = await preparation.prepare(
            self.engine, task, payloads, node_hostname=self._hostname
        )

    async def remove(self, task_id: str) -> None:
        """By its controller alone, which makes one step at a time."""
        if (container := self._containers.get(task_id)) is not None:
            await container.remove()
            del self._containers[task_id]
        self._controllers.pop(task_id, None)
