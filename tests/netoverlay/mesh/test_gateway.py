"""The containers' wires to their host: out to the world, closed among themselves, mended when somebody cuts them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netoverlay.containers.sandboxes import HostJoin, HostSegment, Join, SandboxSpec
from tests.netoverlay.hosts import ip
from tests.netoverlay.mesh.hosts import (
    CLIENT,
    PUBLISHED,
    TCP,
    UDP,
    Server,
    World,
    ask,
    is_reachable,
    published,
    worlds,
)

pytestmark = pytest.mark.root


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path)


@pytest.fixture
def outside(world: World) -> Iterator[Server]:
    """A server of the world outside, on the client's machine."""
    made = Server(world.client, "outside", 7000)
    yield made
    made.stop()


@pytest.mark.parametrize("place", [0, 21], ids=["no ingress address", "ingress address"])
def test_a_container_reaches_the_world_with_its_hosts_address(
    world: World, outside: Server, place: int
) -> None:
    world.publish()
    host = world.hosts[0]
    box = host.box("b1", place)
    for version in (4, 6):
        for kind in (TCP, UDP):
            assert ask(box.namespace, CLIENT[version], outside.port, kind)[1] == host.address(version)


def test_a_container_of_internal_networks_reaches_nobody_but_is_reached(
    world: World, outside: Server
) -> None:
    host = world.hosts[0]
    box = host.box("b1", 21, gateway=False)
    world.publish(box)
    for kind in (TCP, UDP):
        assert ask(world.client, host.v4, PUBLISHED, kind) == ("b1", CLIENT[4])
        assert ask(world.client, world.hosts[2].v6, PUBLISHED, kind) == ("b1", CLIENT[6])
    for address, port in ((CLIENT[4], outside.port), (CLIENT[6], outside.port), (host.v4, PUBLISHED)):
        with pytest.raises(OSError):
            ask(box.namespace, address, port)


def test_a_container_of_internal_networks_that_publishes_nothing_has_no_wire(world: World) -> None:
    host = world.hosts[0]
    sandbox = host.namespaces.create("alone")
    host.rules.connect(SandboxSpec(id="alone", task_id="alone", gateway=False), sandbox)
    assert host.rules.addresses("alone") == ()
    assert [each.name for each in sandbox.route.links()] == ["lo"]


def test_containers_do_not_reach_each_other_over_their_gateways(world: World) -> None:
    world.publish()
    first, second = world.hosts[0].box("b1", 21), world.hosts[0].box("b2")
    for one, other in ((first, second), (second, first)):
        for address in other.way.addresses:
            assert not is_reachable(one.namespace, address, timeout=0.3)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("place", [0, 21], ids=["no ingress address", "ingress address"])
def test_nothing_leaves_in_the_name_of_another_container(world: World, version: int, place: int) -> None:
    world.publish()
    host = world.hosts[0]
    box, other = host.box("b1", place), host.box("b2", place + 1 if place else 0)
    (forged,) = [each for each in other.way.addresses if (":" in each) == (version == 6)]
    (own,) = [each for each in box.way.addresses if (":" in each) == (version == 6)]
    nodad = ("nodad",) if version == 6 else ()  # or it cannot be bound yet
    ip(box.namespace, "ip", "address", "add", forged, "dev", "lo", *nodad)
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with world.client.socket(family, UDP) as port:
        port.bind((CLIENT[version], 7003))
        port.settimeout(10)
        for source in (forged, own):
            with box.namespace.socket(family, UDP) as sending:
                sending.bind((source, 0))
                sending.sendto(source.encode(), (CLIENT[version], 7003))
        assert port.recv(100) == own.encode()


def test_addresses_of_the_hosts_loopback_are_not_reached_from_a_container(world: World) -> None:
    world.publish()
    host = world.hosts[0]
    box = host.box("b1")
    with host.home.socket(socket.AF_INET, TCP) as listening:
        listening.bind(("127.0.0.1", 7001))
        listening.listen()
        ip(box.namespace, "ip", "route", "add", "table", "5", "127.0.0.0/8", "dev", "gw0")
        ip(box.namespace, "ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "lookup", "5")
        ip(box.namespace, "ip", "rule", "delete", "pref", "0", "lookup", "local")
        ip(box.namespace, "ip", "rule", "add", "pref", "1", "lookup", "local")
        box.namespace.sysctl("net.ipv4.conf.all.route_localnet", 1)
        with box.namespace.socket(socket.AF_INET, TCP) as sending:
            sending.bind((box.way.addresses[0], 0))
            sending.settimeout(0.3)
            with pytest.raises(OSError):
                sending.connect(("127.0.0.1", 7001))


def test_a_host_address_never_hides_networks_of_the_container(world: World) -> None:
    join = Join(network_id="n", interface="eth0", mac="", addresses=("172.31.5.5/16",))
    box = world.hosts[0].box("b1", joins=(join,))
    assert not box.way.addresses[0].startswith("172.31.")


def test_connecting_again_changes_nothing(world: World) -> None:
    world.publish()
    host = world.hosts[0]
    box = host.box("b1", host_ports=published(9090, host=True))
    before = box.way
    index = host.home.route.link(before.device)
    host.rules.connect(box.spec, box.namespace)
    assert box.way == before
    assert host.home.route.link(before.device) == index
    assert ask(world.client, host.v4, 9090) == ("b1", CLIENT[4])


def test_a_new_namespace_for_the_same_container_gets_a_new_wire(world: World) -> None:
    host = world.hosts[0]
    box = host.box("b1", 21)
    world.publish(box)
    box.end()
    box.namespace = host.namespaces.create("again")
    host.rules.connect(box.spec, box.namespace)
    box.server = Server(box.namespace, "again")
    assert ask(world.client, host.v4) == ("again", CLIENT[4])


def test_a_restarted_daemon_finds_the_addresses_and_removes_wires_of_nobody(world: World) -> None:
    host = world.hosts[0]
    world.publish()
    box, lost = host.box("b1"), host.box("lost")
    before = box.way
    lost.end()
    host.boxes.remove(lost)
    host.restart()
    host.rules.follow(world.table, host.id)
    assert box.way == before
    assert [each.name for each in host.home.route.links() if each.name.startswith("gv")] == [before.device]
    host.rules.reconcile()
    assert host.rules.reconcile() == 0


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete {device}",
        "ip link set {device} down",
        "ip route delete 10.0.0.21",
        "ip -6 route delete fdc0:1:2:3::15",
        "ip neighbour flush dev {device} nud permanent",
        "ip -6 route delete local ::1 dev {device} table local",
    ],
)
def test_a_damaged_wire_is_mended(world: World, damage: str) -> None:
    host = world.hosts[0]
    box = host.box("b1", 21)
    world.publish(box)
    host.rules.reconcile()
    ip(host.home, *damage.format(device=box.way.device).split())
    assert host.rules.reconcile() > 0
    for version in (4, 6):
        assert ask(world.client, world.hosts[1].address(version)) == ("b1", CLIENT[version])
    assert ask(host.home, "::1")[0] == "b1"
    host.rules.reconcile()
    assert host.rules.reconcile() == 0


def test_replies_leave_by_the_wire_they_came_on_whatever_the_default_route_is(world: World) -> None:
    """A container that is on a bridge of the host as well has its default route there."""
    host = world.hosts[0]
    segment = HostSegment(id="s", name="s", driver="bridge")
    elsewhere = HostJoin(segment=segment, interface="eth0", mac="", addresses=("192.168.77.2/24",))
    box = host.box("b1", 21, host_joins=(elsewhere,))
    world.publish(box)
    for words in (
        "link add eth0 type veth peer name far0",
        "link set eth0 up",
        "link set far0 up",
        "address add 192.168.77.2/24 dev eth0",
        "route replace default via 192.168.77.1 dev eth0",
    ):
        ip(box.namespace, "ip", *words.split())
    assert ask(world.client, world.hosts[1].v4) == ("b1", CLIENT[4])


def test_a_host_that_begins_to_forward_goes_on_listening_to_its_routers(world: World) -> None:
    host = world.hosts[0]
    host.home.sysctls({"net.ipv6.conf.all.forwarding": 0, "net.ipv6.conf.eth0.accept_ra": 1})
    host.rules.forward_packets()
    assert ip(host.home, *["sysctl", "-n", "net.ipv6.conf.eth0.accept_ra"]).strip() == "2"
    assert ip(host.home, *["sysctl", "-n", "net.ipv6.conf.all.forwarding"]).strip() == "1"
