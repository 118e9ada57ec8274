"""Containers outside of services on this node: connected, disconnected, taken up by the next daemon."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from swarmcore.aio import Backoff, Tasks
from swarmcore.errors import FailedPrecondition, Forbidden, NotFound, SwarmError, Unavailable
from swarmcore.model.network import NetworkAttachment, NetworkAttachmentConfig
from swarmcore.model.overlay import endpoint_mac
from swarmcore.model.task import NetworkAttachmentSpec, RuntimeType, Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.attachments import AttachmentReply, RequestAttachment, RequestDetachment
from tests.fakes.executor import FakeExecutor
from tests.fakes.virtual_time import LoopClock, run_virtual
from worker.tasks.attachment_requests import PATIENCE, AttachmentRequests
from worker.tasks.attachment_task import AttachmentTask
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


def test_connect_returns_when_the_container_is_on_the_network() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            await node.attachments.connect("net", "c1", "db", ["10.1.0.7"], ["sql"])
            (asked,) = node.asked
            assert asked == RequestAttachment(
                task_id="t1",
                network="net",
                container_id="c1",
                name="db",
                addresses=("10.1.0.7",),
                aliases=("sql",),
            )
            addresses = ("10.1.0.7/24", "fd01::7/64")
            assert host.interfaces == {("c1", "net"): (addresses, endpoint_mac("t1", "net"), "db")}
            await node.clock.sleep(1)
            assert node.state() is S.RUNNING
            assert node.managers["t1"].status.container_status is not None
            assert node.managers["t1"].status.container_status.container_id == "c1"
            assert host.calls["plug"] == 1

    on_host(story)


def test_disconnect_returns_when_it_is_off_the_network() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            await node.attachments.connect("net", "c1", "db")
            await node.attachments.disconnect("net", "c1")
            assert host.interfaces == {}
            await node.clock.sleep(1)
            assert node.state() is S.SHUTDOWN
            node.managers["t1"].remove()
            await node.clock.sleep(1)
            assert node.managers == {}
            with pytest.raises(NotFound):
                await node.attachments.disconnect("net", "c1")

    on_host(story)


def test_the_table_of_the_network_may_come_later() -> None:
    async def story(host: Host) -> None:
        host.tables.clear()
        async with daemon(host) as node:
            tasks = Tasks()
            connecting = tasks.start(node.attachments.connect("net", "c1", "db"), "connect")
            await node.clock.sleep(5)
            assert (connecting.done(), host.calls["plug"]) == (False, 0)
            assert node.state() is S.PREPARING
            host.tell("net")
            await connecting
            assert ("c1", "net") in host.interfaces
            await tasks.close()

    on_host(story)


async def _refusal(connecting: Coroutine[Any, Any, None]) -> SwarmError:
    with pytest.raises(SwarmError) as refused:
        await connecting
    return refused.value


def test_connect_ends_in_time_says_where_it_hangs_and_takes_the_attachment_back() -> None:
    async def story(host: Host) -> None:
        host.tables.clear()
        async with daemon(host) as node:
            began = node.clock.monotonic()
            refused = await _refusal(node.attachments.connect("net", "c1", "db"))
            assert node.clock.monotonic() - began == pytest.approx(PATIENCE)
            assert isinstance(refused, Unavailable)
            assert str(refused).endswith("after 20 s: this node has not been told of network net yet")
            await node.clock.sleep(1)
            assert node.asked[-1] == RequestDetachment(task_id="t1")
            assert node.state() is S.SHUTDOWN
            node.reaches_node = False
            refused = await _refusal(node.attachments.connect("net", "c1", "db"))
            assert str(refused).endswith("its task has not come to this node")

    on_host(story)


def test_what_the_leader_refuses_is_told_and_nothing_is_asked_again() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            node.refuse = [Forbidden("network shop not manually attachable")]
            assert isinstance(await _refusal(node.attachments.connect("net", "c1", "db")), Forbidden)
            await node.clock.sleep(30)
            assert len(node.asked) == 1
            assert host.interfaces == {}

    on_host(story)


def test_a_request_of_unknown_fate_is_taken_back() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            node.refuse = [Unavailable("no manager answers")]
            assert isinstance(await _refusal(node.attachments.connect("net", "c1", "db")), Unavailable)
            await node.clock.sleep(1)
            assert node.asked[1:] == [RequestDetachment(task_id="t1")]

    on_host(story)


def test_what_the_kernel_refuses_is_told_and_the_task_is_rejected() -> None:
    async def story(host: Host) -> None:
        host.fail_plug = [FailedPrecondition("this kernel has no VXLAN")]
        async with daemon(host) as node:
            refused = await _refusal(node.attachments.connect("net", "c1", "db"))
            assert str(refused) == "Could not attach to network net: this kernel has no VXLAN"
            await node.clock.sleep(1)
            assert (node.state(), node.seen[-1].err) == (S.REJECTED, "this kernel has no VXLAN")

    on_host(story)


def test_a_container_that_is_not_there_is_not_connected() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            assert isinstance(await _refusal(node.attachments.connect("net", "c9", "db")), NotFound)
            assert node.asked == []
            manager = node.assign(attachment("other", "c9"))
            await node.clock.sleep(1)
            assert (manager.status.state, manager.status.err) == (S.REJECTED, "No such container: c9")
            assert host.calls["plug"] == 0

    on_host(story)


def test_a_task_without_an_address_is_rejected() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            bare = replace(
                attachment("t9"), networks_attachments=(NetworkAttachment(network_id="net", addresses=()),)
            )
            manager = node.assign(bare)
            await node.clock.sleep(1)
            assert (manager.status.state, manager.status.err) == (
                S.REJECTED,
                "the task has no address on network net",
            )

    on_host(story)


@pytest.mark.parametrize("when", ["waiting for the table", "running"])
def test_the_task_ends_with_its_container(when: str) -> None:
    async def story(host: Host) -> None:
        host.tables.discard("net" if when != "running" else "")
        async with daemon(host) as node:
            manager = node.assign(attachment("t1"))
            await node.clock.sleep(1)
            host.end("c1")
            await node.clock.sleep(1)
            assert manager.status.state is (S.COMPLETE if when == "running" else S.REJECTED)
            manager.remove()
            await node.clock.sleep(1)
            assert host.interfaces == {}
            assert node.managers == {}

    on_host(story)


def test_a_new_daemon_takes_up_what_it_finds() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as first:
            await first.attachments.connect("net", "c1", "db")
            await first.clock.sleep(1)
            known = first.managers["t1"]
        before = dict(host.interfaces)
        host.tables.clear()  # until a leader is found
        async with daemon(host) as second:
            manager = second.assign(known.task, known.status)
            await second.clock.sleep(60)
            assert (manager.status.state, host.interfaces) == (S.RUNNING, before)
            host.fail_plug = [FailedPrecondition("not yet")]
            host.tell("net")
            await second.clock.sleep(5)
            assert (manager.status.state, host.interfaces, host.calls["plug"]) == (S.RUNNING, before, 3)
            await second.attachments.disconnect("net", "c1")
            assert host.interfaces == {}

    on_host(story)


def test_a_new_daemon_notices_that_the_container_ended_meanwhile() -> None:
    async def story(host: Host) -> None:
        running = TaskStatus(state=S.RUNNING)
        host.end("c1")
        host.tables.clear()
        async with daemon(host) as node:
            manager = node.assign(attachment("t1"), running)
            gone = node.assign(attachment("t2", "c9"), running)
            await node.clock.sleep(1)
            assert manager.status.state is S.COMPLETE
            assert gone.status.state is S.COMPLETE

    on_host(story)


def test_who_unplugs_waits_for_the_plugging_under_way() -> None:
    async def story(host: Host) -> None:
        host.plug_time = 3.0
        async with daemon(host) as node:
            manager = node.assign(attachment("t1"))
            await node.clock.sleep(1)
            assert host.calls["plug"] == 1
            manager.remove()
            await node.clock.sleep(1)
            assert host.calls["unplug"] == 0
            await node.clock.sleep(5)
            assert host.interfaces == {}
            assert node.managers == {}

    on_host(story)


def test_other_tasks_are_containers_still() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            plain = replace(attachment("t1"), spec=TaskSpec())
            node.assign(plain)
            await node.clock.sleep(1)
            assert set(node.executor.containers) == {"t1"}
            controller = await node.runtimes.controller(attachment("t2"), {}, {})
            assert isinstance(controller, AttachmentTask)
            assert await node.runtimes.controller(attachment("t2"), {}, {}) is controller
            await node.runtimes.sweep([])
            assert node.executor.swept == ["t1"]
            assert (await node.runtimes.resources()) == (await node.executor.resources())
            await node.runtimes.close()
            assert node.executor.closed

    on_host(story)


def test_an_attachment_that_ends_late_leaves_the_next_one_alone() -> None:
    async def story(host: Host) -> None:
        async with daemon(host) as node:
            await node.attachments.connect("net", "c1", "c1")
            await node.attachments.disconnect("net", "c1")
            await node.attachments.connect("net", "c1", "c1")
            await node.clock.sleep(5)
            assert set(host.interfaces) == {("c1", "net")}

    on_host(story)


STEPS = st.lists(
    st.tuples(st.sampled_from(["connect", "disconnect", "end", "restart"]), st.integers(0, 2)), max_size=14
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_interfaces_are_those_of_the_attachments_that_live_whatever_happens(
    steps: list[tuple[str, int]],
) -> None:
    async def story() -> None:
        host = Host()
        names = ["c0", "c1", "c2"]
        for name in names:
            host.run(name)
        wanted: dict[str, bool] = dict.fromkeys(names, False)
        node = Daemon(host)
        for kind, place in steps:
            name = names[place]
            if kind == "connect" and host.lives(name) and not wanted[name]:
                await node.attachments.connect("net", name, name)
                wanted[name] = True
            elif kind == "disconnect" and wanted[name]:
                await node.attachments.disconnect("net", name)
                wanted[name] = False
            elif kind == "end":
                host.end(name)
                await node.clock.sleep(0.1)
                for manager in list(node.managers.values()):
                    if manager.status.state.is_final:
                        manager.remove()
                await node.clock.sleep(0.1)
                wanted[name] = False
            elif kind == "restart":
                await node.clock.sleep(0.1)
                known = [(m.task, m.status) for m in node.managers.values()]
                await node.close()
                node = Daemon(host)
                for task, status in known:
                    node.assign(task, status)
                await node.clock.sleep(0.1)
            assert {c for c, _ in host.interfaces} == {c for c, on in wanted.items() if on}
        await node.close()

    run_virtual(story())
