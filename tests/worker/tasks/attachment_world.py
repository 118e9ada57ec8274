"""A host and its daemons, with a leader that makes the attachment tasks which are asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from swarmcore.aio import Backoff, Tasks
from swarmcore.errors import NotFound, SwarmError
from swarmcore.model.network import NetworkAttachment, NetworkAttachmentConfig
from swarmcore.model.task import NetworkAttachmentSpec, RuntimeType, Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.attachments import AttachmentReply, RequestAttachment, RequestDetachment
from tests.fakes.executor import FakeExecutor
from tests.fakes.virtual_time import LoopClock, run_virtual
from worker.tasks.attachment_requests import AttachmentRequests
from worker.tasks.dependencies import Dependencies
from worker.tasks.manager import TaskManager
from worker.tasks.runtimes import Runtimes

S = TaskState


R = TypeVar("R", bound=msgspec.Struct)


Interface = tuple[str, str]  # container, network


class Host:
    """Containers and interfaces as the kernel would hold them; both outlive a daemon."""

    def __init__(self) -> None:
        self.containers: dict[str, asyncio.Event] = {}
        self.interfaces: dict[Interface, tuple[tuple[str, ...], str, str]] = {}
        self.tables: set[str] = {"net"}
        self.told = asyncio.Event()
        self.fail_plug: list[SwarmError] = []
        self.plug_time = 0.0
        self.calls: Counter[str] = Counter()
        self.numbers = count(1)

    def run(self, container_id: str) -> None:
        self.containers[container_id] = asyncio.Event()

    def end(self, container_id: str) -> None:
        self.containers[container_id].set()

    def tell(self, network_id: str) -> None:
        self.tables.add(network_id)
        self.told.set()
        self.told = asyncio.Event()

    # -- Containers --
    def lives(self, container_id: str) -> bool:
        return container_id in self.containers and not self.containers[container_id].is_set()

    async def ended(self, container_id: str) -> None:
        if container_id in self.containers:
            await self.containers[container_id].wait()

    # -- Plugs --
    async def known(self, network_id: str) -> None:
        while network_id not in self.tables:
            await self.told.wait()

    async def plug(
        self, container_id: str, network_id: str, addresses: tuple[str, ...], mac: str, name: str
    ) -> None:
        self.calls["plug"] += 1
        await asyncio.sleep(self.plug_time)
        if self.fail_plug:
            raise self.fail_plug.pop(0)
        self.interfaces[container_id, network_id] = addresses, mac, name

    async def unplug(self, container_id: str, network_id: str, mac: str) -> None:
        self.calls["unplug"] += 1
        await asyncio.sleep(0)
        if self.interfaces.get((container_id, network_id), ((), mac, ""))[1] == mac:
            self.interfaces.pop((container_id, network_id), None)


class Daemon:
    """This node's task managers, and a leader that makes the tasks which are asked for."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.clock = LoopClock()
        self.attachments = AttachmentRequests(
            plugs=host,
            containers=host,
            managers=self,
            clock=self.clock,
            new_id=lambda: f"t{next(host.numbers)}",
        )
        self.executor = FakeExecutor()
        self.runtimes = Runtimes(self.executor, self.attachments)
        self.managers: dict[str, TaskManager] = {}
        self.loops = Tasks()
        self.seen: list[TaskStatus] = []
        self.asked: list[msgspec.Struct] = []
        self.refuse: list[SwarmError] = []
        self.reaches_node = True

    # -- the leader (worker.tasks.attachment_requests.Asks) --
    async def ask(self, request: msgspec.Struct, reply: type[R], *, patience: float) -> R:
        self.asked.append(request)
        await self.clock.sleep(0.01)
        if self.refuse:
            raise self.refuse.pop(0)
        answer: Any
        if isinstance(request, RequestAttachment):
            if self.reaches_node:
                self.assign(attachment(request.task_id, request.container_id, request.network))
            answer = AttachmentReply(task_id=request.task_id)
        else:
            assert isinstance(request, RequestDetachment)
            answer = AttachmentReply(task_id=self._detach(request))
        assert isinstance(answer, reply)
        return answer

    def _detach(self, request: RequestDetachment) -> str:
        for task_id, manager in self.managers.items():
            task = manager.task
            spec = task.spec.network_attachment_spec
            assert spec is not None
            named = (
                spec.container_id == request.container_id and task.spec.networks[0].target == request.network
            )
            if task_id == request.task_id or (named and task.desired_state is not S.REMOVE):
                manager.reassign(replace(task, desired_state=S.REMOVE))
                return task_id
        raise NotFound("attachment not found")

    def assign(self, task: Task, status: TaskStatus | None = None) -> TaskManager:
        manager = TaskManager(
            replace(task, status=status or task.status),
            executor=self.runtimes,
            dependencies=Dependencies(),
            description=lambda: None,
            report=lambda _, status: self.seen.append(status),
            clock=self.clock,
            backoff=Backoff(Random(1), first=0.1, limit=0.2),
        )
        self.managers[task.id] = manager
        self.loops.start(self._run(manager), task.id)
        return manager

    async def _run(self, manager: TaskManager) -> None:
        await manager.run()
        self.managers.pop(manager.task.id, None)

    def state(self, task_id: str = "t1") -> TaskState:
        return self.managers[task_id].status.state

    async def close(self) -> None:
        await self.loops.close()
        await self.attachments.close()


def attachment(id: str, container_id: str = "c1", network: str = "net", *addresses: str) -> Task:
    given = addresses or ("10.1.0.7/24", "fd01::7/64")
    return Task(
        id=id,
        name="db",
        node_id="n1",
        spec=TaskSpec(
            runtime=RuntimeType.ATTACHMENT,
            network_attachment_spec=NetworkAttachmentSpec(container_id=container_id),
            networks=(NetworkAttachmentConfig(target=network),),
        ),
        networks_attachments=(NetworkAttachment(network_id=network, addresses=given),),
        status=TaskStatus(state=S.ASSIGNED),
        desired_state=S.RUNNING,
    )


@asynccontextmanager
async def daemon(host: Host) -> AsyncIterator[Daemon]:
    made = Daemon(host)
    try:
        yield made
    finally:
        await made.close()


def on_host(story: Callable[[Host], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        host = Host()
        host.run("c1")
        await story(host)

    run_virtual(run())
