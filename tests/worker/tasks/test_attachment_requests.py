"""Containers outside of services asked onto networks of the swarm, and off them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from swarmcore.aio import Tasks
from swarmcore.errors import FailedPrecondition, Forbidden, NotFound, SwarmError, Unavailable
from swarmcore.model.overlay import endpoint_mac
from swarmcore.rpc.messages.attachments import RequestAttachment, RequestDetachment
from tests.worker.tasks.attachment_world import Host, S, attachment, daemon, on_host
from worker.tasks.attachment_requests import PATIENCE


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
