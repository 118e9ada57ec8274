"""One host's whole networking behind its facade: sandboxes come and go, daemons too, and the kernel agrees."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.netns import Namespace
from swarmcore.aio import owned
from tests.netoverlay import frames
from tests.netoverlay.hosts import open_files
from tests.netoverlay.world import VIP, VTEP, World, network, spec, table

pytestmark = pytest.mark.root


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.host.open()
    try:
        yield made
    finally:
        await made.close()


async def resolves(where: Namespace, name: str) -> str:
    """The first address that the container's resolver gives, by a question of our own."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + labels + b"\0\0\x01\0\x01"
    loop = asyncio.get_running_loop()
    with where.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setblocking(False)
        await loop.sock_connect(link, ("127.0.0.11", 53))
        await loop.sock_sendall(link, question)
        async with asyncio.timeout(5):
            answer = await loop.sock_recv(link, 512)
    return socket.inet_ntoa(answer[-4:]) if answer[7] else ""


async def connects(source: Namespace, target: Namespace, address: str) -> bool:
    """Whether a TCP connection from one sandbox to `address` arrives at the other."""
    loop = asyncio.get_running_loop()
    with (
        target.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        source.socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", 8000))
        listener.listen()
        client.setblocking(False)
        try:
            async with asyncio.timeout(3):
                await loop.sock_connect(client, (address, 8000))
        except OSError:
            return False
        return True


async def test_a_sandbox_has_names_and_virtual_addresses_and_leaves_nothing(world: World) -> None:
    await world.apply(3)
    one, two = spec(3), spec(4)
    await world.host.attach(one)
    await world.host.attach(two)
    assert await resolves(world.inside(two), "web") == VIP
    assert await connects(world.inside(two), world.inside(one), VIP)
    await world.apply()
    assert not await connects(world.inside(two), world.inside(one), VIP)
    for sandbox in (one, two):
        await world.host.release(sandbox)
        await world.host.release(sandbox)  # repeatable
    await world.host.forget()
    links = world.shown(world.kernel, "ip", "-o", "link")
    assert [line.split(": ")[1] for line in links.splitlines()] == ["lo", "eth0"]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
async def test_a_sandbox_that_nobody_waits_for_any_more_is_taken_down(world: World, turns: int) -> None:
    """The thread that makes it goes on: whoever attached it was cancelled in the middle."""
    await world.apply(3)
    async with owned(world.host.attach(spec(3)), "attach") as attaching:
        for _ in range(turns):
            await asyncio.sleep(0)
        attaching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attaching
    await world.host.reconcile()  # the thread is through with what it had to do
    assert world.host.namespace(spec(3).id) is None
    await world.host.attach(spec(3))
    await world.host.release(spec(3))


async def test_a_name_comes_after_the_way_there_and_goes_before_it(world: World) -> None:
    await world.apply(3)
    asking = spec(9)
    await world.host.attach(asking)
    inside = world.inside(asking)
    for coming, then in ((True, "10.5.0.4"), (False, "")):
        done = threading.Event()
        busy = world.host._thread.submit(done.wait)  # the kernel takes its time
        try:
            async with asyncio.TaskGroup() as group:
                applied = group.create_task(world.apply(3, 4) if coming else world.apply(3))
                await asyncio.sleep(0)
                assert await resolves(inside, "web.3.t3") == "10.5.0.3"
                assert await resolves(inside, "web.4.t4") == ""
                assert not busy.done() and not applied.done()
                done.set()
        finally:
            done.set()
        assert await resolves(inside, "web.4.t4") == then
    await world.host.release(asking)


async def test_what_was_damaged_by_hand_is_mended_and_counted(world: World) -> None:
    await world.apply(3)
    one, two = spec(3), spec(4)
    await world.host.attach(one)
    await world.host.attach(two)
    assert await world.host.reconcile() == 0
    world.shown(world.inside(two), "nft", "flush", "ruleset")
    assert await world.host.reconcile() > 0
    assert await world.host.reconcile() == 0
    assert await connects(world.inside(two), world.inside(one), VIP)
    assert world.host.repairs["containers"] > 0


async def test_another_daemon_takes_up_what_is_there(world: World) -> None:
    await world.apply(3)
    one, two, gone = spec(3), spec(4), spec(5)
    for sandbox in (one, two, gone):
        await world.host.attach(sandbox)
    await world.restart(one, two)  # the third container ended while no daemon was there
    assert world.host.namespace(gone.id) is None
    assert await connects(world.inside(two), world.inside(one), VIP)  # before any manager speaks
    await world.apply(3)
    assert await resolves(world.inside(two), "tasks.web") == "10.5.0.3"
    assert await connects(world.inside(two), world.inside(one), VIP)
    assert await world.host.reconcile() == 0


async def test_a_drain_ends_with_the_last_connection(world: World) -> None:
    await world.apply(3)
    one, two = spec(3), spec(4)
    await world.host.attach(one)
    await world.host.attach(two)
    loop = asyncio.get_running_loop()
    await asyncio.wait_for(world.host.drain(one, 60), 30)  # nobody is connected
    with (
        world.inside(one).socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        world.inside(two).socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.bind(("0.0.0.0", 8000))
        listener.listen()
        client.setblocking(False)
        await loop.sock_connect(client, (VIP, 8000))
        accepted, _ = listener.accept()
        draining = asyncio.ensure_future(world.host.drain(one, 60))  # noqa: TID251 - awaited below
        done, _ = await asyncio.wait({draining}, timeout=0.5)
        assert not done
        await world.host.drain(one, 0.3)  # an end to patience
        client.close()
        accepted.close()
        await asyncio.wait_for(draining, 30)


_DEAF = "table inet deaf { chain in { type filter hook input priority -300; tcp flags & fin == fin drop; }; }"


async def test_who_waits_for_a_container_that_ended_is_told_even_if_the_first_fin_is_lost(
    world: World,
) -> None:
    await world.apply(3)
    one, two = spec(3), spec(4)
    await world.host.attach(one)
    await world.host.attach(two)
    with (
        world.inside(one).socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
        world.inside(two).socket(socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        listener.bind(("0.0.0.0", 8000))
        listener.listen()
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, (VIP, 8000))
        world.shown(world.inside(two), "nft", _DEAF)
        listener.accept()[0].close()  # as when it is killed
        listener.close()

        async def end() -> None:
            await world.host.release(one)
            await world.apply(4)  # whoever reads the table forgets the flows to it

        async with owned(world.host.run(), "host network"), owned(end(), "end") as ending:
            await asyncio.wait({ending}, timeout=0.2)
            world.shown(world.inside(two), "nft", "delete table inet deaf")
            async with asyncio.timeout(5):
                assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


def asks(client: Namespace) -> socket.socket:
    """A UDP socket that always uses the same port."""
    link = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect((VIP, 8000))
    link.send(b"?")
    return link


def answers(world: World, client: SandboxSpec) -> set[str]:
    """Who is, by the kernel, at the other end of the client's balanced flows."""
    flows = world.inside(client).conntrack.flows(["10.5.0.3", "10.5.0.4"])
    return {each.answers for each in flows if each.translated}


async def test_flows_to_an_endpoint_that_has_gone_are_forgotten_behind_the_update(world: World) -> None:
    await world.apply(3)
    servers, clients = (spec(3), spec(4)), (spec(5), spec(6))
    for sandbox in (*servers, *clients):
        await world.host.attach(sandbox)
    with ExitStack() as opened:
        for each in servers:  # else their hosts say that nobody listens
            listener = world.inside(each).socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.enter_context(listener).bind(("0.0.0.0", 8000))
        links = [opened.enter_context(asks(world.inside(each))) for each in clients]
        assert [answers(world, each) for each in clients] == [{"10.5.0.3"}] * 2
        async with owned(world.host.run(), "host network"):
            await world.apply(4)
            async with asyncio.timeout(30):
                while any(answers(world, each) for each in clients):
                    await asyncio.sleep(0.01)
        for link in links:
            link.send(b"?")
        assert [answers(world, each) for each in clients] == [{"10.5.0.4"}] * 2


async def test_flows_to_an_endpoint_are_forgotten_before_its_address_is_used_again(world: World) -> None:
    await world.apply(3)
    one, client = spec(3), spec(5)
    await world.host.attach(one)
    await world.host.attach(client)
    with asks(world.inside(client)):
        await world.apply(4)
        assert answers(world, client) == {"10.5.0.3"}  # nobody runs who would forget it
        await world.apply(3, 4)
        assert answers(world, client) == set()


async def test_flows_to_an_endpoint_are_forgotten_in_the_update_that_gives_its_address_to_another(
    world: World,
) -> None:
    await world.apply(3)
    one, client = spec(3), spec(5)
    await world.host.attach(one)
    await world.host.attach(client)
    with asks(world.inside(client)):
        assert answers(world, client) == {"10.5.0.3"}
        now = table(3)
        other = replace(now.endpoints["t3"], id="t9", mac="02:00:00:00:00:09")
        await world.host.follow({"n" * 25: replace(now, endpoints={"t9": other})}, "w1", VTEP)
        assert answers(world, client) == set()


async def test_a_container_joins_a_further_network_and_leaves_it_again(world: World) -> None:
    await world.apply(3)
    one, alone = spec(3), replace(spec(4), joins=())
    await world.host.attach(one)
    await world.host.attach(alone)
    joined = await world.host.join(alone.id, spec(4).joins[0])
    assert joined.joins == spec(4).joins
    assert await world.host.join(alone.id, spec(4).joins[0]) == joined
    assert await resolves(world.inside(alone), "web") == VIP
    assert await connects(world.inside(alone), world.inside(one), VIP)
    parted = await world.host.part(alone.id, "n" * 25, spec(4).joins[0].mac)
    assert parted is not None
    assert parted.joins == ()
    assert "eth0" not in world.shown(world.inside(alone), "ip", "-o", "link")
    assert await world.host.part("unknown", "n" * 25, "") is None


async def test_no_container_puts_frames_into_an_overlay_that_it_is_not_on(world: World) -> None:
    """By plain UDP to its host's VXLAN port. Without the door it could, which proves the attack."""
    secret = replace(
        table(), network=replace(network(), id="s" * 25, subnets=(replace(network().subnets[0], vni=4101),))
    )
    await world.host.follow({"n" * 25: table(5), "s" * 25: secret}, "w1", VTEP)
    thief, victim = spec(5), spec(6)
    (join,) = victim.joins
    victim = replace(victim, joins=(replace(join, network_id="s" * 25),))
    for each in (thief, victim):
        await world.host.attach(each)
    frame = frames.ethernet("02:00:00:00:00:07", 0x88B5, b"forged")
    last = frames.ethernet("02:00:00:00:00:08", 0x88B5, b"this was the last frame")
    bridge = world.host._wiring._namespaces.open("ov-" + "s" * 12)
    for guarded in (True, False):
        if not guarded:
            world.shown(world.kernel, "nft", "delete", "table", "inet", "pyswarm-door")
        with (
            frames.packets(world.inside(victim), "eth0") as ear,
            frames.packets(bridge, "br0") as inside,
            world.inside(thief).socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
        ):
            sending.sendto(b"\x08\0\0\0" + (4101 << 8).to_bytes(4, "big") + frame, (VTEP, 4789))
            inside.send(last)
            assert (frame in frames.heard(ear, last)) is not guarded
    assert await world.host.reconcile() > 0


async def test_a_container_costs_four_descriptors(world: World) -> None:
    """Its namespace, the socket of its rules, and the two of its name server; its supervisor's is the worker's."""
    await world.apply(5)
    await world.host.attach(spec(5))  # makes what the network needs
    await world.host.reconcile()
    before = open_files()
    for number in range(6, 16):
        await world.host.attach(spec(number))
    assert open_files() - before == 40
    await world.host.addresses(spec(6).id)
    await world.host.drain(spec(6), 0)
    await world.apply(5, 6, 7)
    await world.host.reconcile()
    assert open_files() - before == 40
    for number in range(6, 16):
        await world.host.release(spec(number))
    assert open_files() == before
