"""A container outside of services as a task: plugged in, unplugged, taken up by the next daemon."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from swarmcore.errors import FailedPrecondition
from swarmcore.model.network import NetworkAttachment
from swarmcore.model.task import TaskSpec, TaskStatus
from tests.fakes.virtual_time import run_virtual
from tests.worker.tasks.attachment_world import Daemon, Host, S, attachment, daemon, on_host
from worker.tasks.attachment_task import AttachmentTask


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
