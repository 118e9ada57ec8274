"""The mesh with real packets: every node answers a published port, and the replica sees who really asks."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.netoverlay.hosts import eventually, ip
from tests.netoverlay.mesh.hosts import (
    CLIENT,
    PREFIX6,
    PUBLISHED,
    TCP,
    UDP,
    Box,
    Connection,
    World,
    ask,
    is_reachable,
    published,
    service,
    worlds,
)
from tests.netoverlay.nft.listing import nft

pytestmark = pytest.mark.root
KINDS = [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")]
VERSIONS = [4, 6]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path)


@pytest.fixture
def replicas(world: World) -> tuple[Box, Box]:
    """One on the first host, one on the second; none on the third."""
    made = world.hosts[0].box("b1", 21), world.hosts[1].box("b2", 22)
    world.publish(*made)
    return made


def answers(world: World, *args: object) -> set[tuple[str, str]]:
    """Who answers, of enough tries that each of two is among them."""
    return {ask(*args) for _ in range(30)}  # type: ignore[arg-type]


def echoed(packets: Connection, size: int) -> int:
    """The first packet only teaches the sender how large a packet may be (EMSGSIZE at the next call)."""
    for _ in range(5):
        try:
            packets.socket.send(bytes(size))
            return len(packets.socket.recv(65_536))
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
    return 0


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_node_leads_a_client_to_all_replicas_which_see_its_address(
    world: World, replicas: tuple[Box, Box], kind: int, version: int
) -> None:
    for host in world.hosts:
        found = answers(world, world.client, host.address(version), PUBLISHED, kind)
        assert found == {("b1", CLIENT[version]), ("b2", CLIENT[version])}


def test_hosts_may_be_joined_by_ipv6_and_change_over_to_it(world: World, replicas: tuple[Box, Box]) -> None:
    for underlay in (6, 4):
        world.move_underlay(underlay)
        for version in VERSIONS:
            found = answers(world, world.client, world.hosts[2].address(version))
            assert found == {("b1", CLIENT[version]), ("b2", CLIENT[version])}


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_reaches_published_ports_at_its_own_addresses(
    world: World, replicas: tuple[Box, Box], kind: int
) -> None:
    first = world.hosts[0]
    for address, seen in (
        ("127.0.0.1", "10.0.0.1"),
        (first.v4, first.v4),
        (first.v6, first.v6),
        ("::1", f"{PREFIX6}1"),
    ):
        assert answers(world, first.home, address, PUBLISHED, kind) == {("b1", seen), ("b2", seen)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_host_reaches_the_port_of_another_host_even_if_the_replica_is_its_own(
    world: World, replicas: tuple[Box, Box], kind: int, version: int
) -> None:
    seen = {4: "10.0.0.2", 6: f"{PREFIX6}2"}[version]
    found = answers(world, world.hosts[0].home, world.hosts[1].address(version), PUBLISHED, kind)
    assert found == {("b1", seen), ("b2", seen)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_container_reaches_the_port_of_its_own_host_and_itself(
    world: World, replicas: tuple[Box, Box], kind: int, version: int
) -> None:
    first = world.hosts[0]
    own, node = {4: ("10.0.0.21", "10.0.0.1"), 6: (f"{PREFIX6}15", f"{PREFIX6}1")}[version]
    found = answers(world, replicas[0].namespace, first.address(version), PUBLISHED, kind)
    assert found == {("b1", node), ("b2", own)}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_container_reaches_the_port_of_another_host(
    world: World, replicas: tuple[Box, Box], version: int
) -> None:
    seen = {4: "10.0.0.3", 6: f"{PREFIX6}3"}[version]
    found = answers(world, replicas[0].namespace, world.hosts[2].address(version))
    assert found == {("b1", seen), ("b2", seen)}


def test_a_container_without_an_ingress_address_reaches_published_ports(
    world: World, replicas: tuple[Box, Box]
) -> None:
    other = world.hosts[0].box("other")
    found = answers(world, other.namespace, world.hosts[0].v4)
    assert found == {("b1", other.way.addresses[0]), ("b2", "10.0.0.1")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_services_own_address_answers_hosts_and_containers_like_a_node(
    world: World, replicas: tuple[Box, Box], kind: int, version: int
) -> None:
    web = replace(service(), vips=("10.0.0.99", f"{PREFIX6}63"))
    world.publish(*replicas, of=(web,))
    vip = web.vips[version == 6]
    first, last = world.hosts[0], world.hosts[2]
    for host in (first, last):
        seen = {4: f"10.0.0.{host.number}", 6: f"{PREFIX6}{host.number}"}[version]
        assert answers(world, host.home, vip, PUBLISHED, kind) == {("b1", seen), ("b2", seen)}
    for inside in (last.box("lonely").namespace, replicas[0].namespace):  # itself among them
        assert {name for name, _ in answers(world, inside, vip, PUBLISHED, kind)} == {"b1", "b2"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_services_own_address_refuses_at_once_without_replicas(world: World, version: int) -> None:
    web = replace(service(), vips=("10.0.0.99", f"{PREFIX6}63"))
    vip = web.vips[version == 6]
    host = world.hosts[0]
    box = host.box("b1")
    world.publish(of=(web,))
    for namespace in (host.home, box.namespace):
        with pytest.raises(ConnectionRefusedError):
            ask(namespace, vip)
    replica = world.hosts[1].box("b2", 22)
    world.publish(replica, of=(web,))
    for namespace in (host.home, box.namespace):
        assert ask(namespace, vip)[0] == "b2"
    world.publish(replica)  # it is the service's no more
    assert not is_reachable(box.namespace, vip, PUBLISHED, timeout=0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_one_client_port_works_with_three_nodes_at_once(world: World, kind: int, version: int) -> None:
    world.publish(world.hosts[1].box("b2", 22))
    open_ones = [
        Connection(world.client, host.address(version), PUBLISHED, kind, source_port=41_000)
        for host in world.hosts
    ]
    try:
        assert {each.seen for each in open_ones} == {CLIENT[version]}
        assert all(each.alive() for each in open_ones)
    finally:
        for each in open_ones:
            each.socket.close()


@pytest.mark.parametrize("marked", [0, 1], ids=["", "src_valid_mark"])
@pytest.mark.parametrize("strictness", [0, 1, 2])
def test_the_client_is_valid_whatever_rp_filter_says_and_without_a_default_route(
    world: World, strictness: int, marked: int
) -> None:
    second = world.hosts[1]
    world.publish(second.box("b2", 22))
    second.home.sysctls(
        {"net.ipv4.conf.all.rp_filter": strictness, "net.ipv4.conf.all.src_valid_mark": marked}
    )
    for family in ("-4", "-6"):
        ip(second.home, "ip", family, "route", "delete", "default")
    for version in VERSIONS:
        assert ask(world.client, world.hosts[0].address(version)) == ("b2", CLIENT[version])


@pytest.mark.parametrize("marked", ["", ". mark "], ids=["by address", "by address and mark"])
@pytest.mark.parametrize("version", VERSIONS)
def test_replies_pass_reverse_path_filters_of_others(world: World, version: int, marked: str) -> None:
    """As firewalld has one for IPv6, with the mark."""
    second = world.hosts[1]
    world.publish(second.box("b2", 22))
    arriving = f"iifname gv* fib saddr {marked}. iif oif missing drop"
    everything = f"{arriving}; fib saddr {marked}. iif oif missing drop" if marked else arriving
    chain = "type filter hook prerouting priority 10;"
    nft(second.home, f"table inet rpfilter {{ chain pre {{ {chain} {everything}; }}; }}")
    assert ask(world.client, world.hosts[0].address(version)) == ("b2", CLIENT[version])


def test_large_packets_pass_in_both_directions(world: World, replicas: tuple[Box, Box]) -> None:
    for version in VERSIONS:
        with Connection(world.client, world.hosts[2].address(version), PUBLISHED) as connection:
            payload = bytes(200_000)
            connection.socket.sendall(payload[:65_000])
            got = 0
            while got < 65_000:
                got += len(connection.socket.recv(65_536))
        with Connection(world.client, world.hosts[2].address(version), PUBLISHED, UDP) as packets:
            assert echoed(packets, 4000) == 4000


@pytest.mark.parametrize("version", VERSIONS)
def test_a_service_without_replicas_refuses_at_once(world: World, version: int) -> None:
    world.publish()
    for host in world.hosts:
        with pytest.raises(ConnectionRefusedError):
            ask(world.client, host.address(version))
        with pytest.raises(ConnectionRefusedError):
            ask(world.client, host.address(version), kind=UDP)
        with pytest.raises(ConnectionRefusedError):
            ask(host.home, {4: "127.0.0.1", 6: "::1"}[version])


def test_a_refused_port_leaves_no_trace_when_replicas_come(world: World) -> None:
    world.publish()
    with pytest.raises(ConnectionRefusedError), world.client.socket(socket.AF_INET, UDP) as sending:
        sending.bind(("", 41_001))
        sending.settimeout(5)
        sending.connect((world.hosts[0].v4, PUBLISHED))
        sending.send(b"?")
        sending.recv(100)
    world.publish(world.hosts[1].box("b2", 22))
    with Connection(world.client, world.hosts[0].v4, PUBLISHED, UDP, source_port=41_001) as found:
        assert found.name == "b2"


def test_a_sender_that_was_there_before_the_service_reaches_it(world: World) -> None:
    """Its packets were nobody's, but the kernel has a flow of them that it goes on with."""
    host = world.hosts[0]
    with (
        host.home.socket(socket.AF_INET, UDP) as mute,
        world.client.socket(socket.AF_INET, UDP) as sending,
    ):
        mute.bind((host.v4, PUBLISHED))
        world.apply({}, ())
        sending.settimeout(10)
        sending.connect((host.v4, PUBLISHED))
        sending.send(b"?")
        assert mute.recv(10) == b"?"
        world.publish(world.hosts[1].box("b2", 22))
        sending.send(b"?")
        assert sending.recv(100).split()[0] == b"b2"


def test_a_local_only_service_answers_where_it_has_a_replica_and_nowhere_else(world: World) -> None:
    boxes = world.hosts[0].box("b1", 21), world.hosts[1].box("b2", 22)
    world.publish(*boxes, of=(service(local_only=True),))
    assert answers(world, world.client, world.hosts[0].v4) == {("b1", CLIENT[4])}
    assert answers(world, world.client, world.hosts[1].v4) == {("b2", CLIENT[4])}
    with pytest.raises(ConnectionRefusedError):
        ask(world.client, world.hosts[2].v4)


def test_live_connections_go_on_while_a_replica_drains_and_new_ones_go_elsewhere(
    world: World, replicas: tuple[Box, Box]
) -> None:
    first, second = replicas
    held = [Connection(world.client, world.hosts[2].v4, PUBLISHED) for _ in range(20)]
    try:
        drained = {each.spec.task_id: each.endpoint(active=each is second) for each in replicas}
        world.apply(drained, (service(),))
        assert {each.name for each in held} == {"b1", "b2"}
        assert all(each.alive() for each in held)
        assert answers(world, world.client, world.hosts[2].v4) == {("b2", CLIENT[4])}
    finally:
        for each in held:
            each.socket.close()
    assert first.name == "b1"


def test_udp_from_one_port_moves_on_when_its_replica_is_gone(world: World, replicas: tuple[Box, Box]) -> None:
    with Connection(world.client, world.hosts[2].v4, PUBLISHED, UDP) as flow:
        gone = next(each for each in replicas if each.name == flow.name)
        left = next(each for each in replicas if each.name != flow.name)
        gone.remove()
        gone.host.boxes.remove(gone)
        world.publish(left)
        flow.socket.send(b"?")
        assert flow.socket.recv(100).split()[0].decode() == left.name


def test_nodes_that_come_and_go_do_not_disturb_flows_through_others(
    world: World, replicas: tuple[Box, Box]
) -> None:
    endpoints = {each.spec.task_id: each.endpoint() for each in replicas}
    held = [Connection(world.client, world.hosts[0].v4, PUBLISHED) for _ in range(10)]
    try:
        for hosts in (world.hosts[:2], world.hosts, world.hosts[:2]):
            world.apply(endpoints, (service(),), hosts)
            assert all(each.alive() for each in held)
    finally:
        for each in held:
            each.socket.close()


def test_connections_never_fail_while_a_service_changes(world: World, replicas: tuple[Box, Box]) -> None:
    first, second = ({each.spec.task_id: each.endpoint()} for each in replicas)
    for turn in range(60):
        world.apply((first, second, {**first, **second})[turn % 3], (service(),))
        for _ in range(3):
            ask(world.client, world.hosts[turn % 3].v4)


def test_a_killed_daemon_and_its_successor_are_not_noticed(world: World, replicas: tuple[Box, Box]) -> None:
    held = [Connection(world.client, world.hosts[0].v4, PUBLISHED) for _ in range(10)]
    try:
        for host in world.hosts:
            host.restart()
            assert ask(world.client, host.v4)[1] == CLIENT[4]
            host.rules.follow(world.table, host.id)
            host.rules.reconcile()
            assert host.rules.reconcile() == 0
        assert all(each.alive() for each in held)
    finally:
        for each in held:
            each.socket.close()
    assert answers(world, world.client, world.hosts[2].v4) == {("b1", CLIENT[4]), ("b2", CLIENT[4])}


def test_unpublished_ports_and_loopback_are_closed_to_containers_and_neighbours(
    world: World, replicas: tuple[Box, Box]
) -> None:
    first, second = replicas
    for namespace, address in (
        (second.namespace, "10.0.0.21"),  # another host's container, over the mesh
        (world.hosts[1].home, "10.0.0.21"),
        (world.hosts[0].box("other").namespace, "10.0.0.21"),
    ):
        with namespace.socket(socket.AF_INET, TCP) as sending:
            sending.settimeout(0.3)
            with pytest.raises(OSError):
                sending.connect((address, 9))
    eventually(lambda: ask(world.client, world.hosts[0].v4)[1] == CLIENT[4])
    assert first.way.open


def test_nothing_is_left_after_the_node_has_left_the_swarm(world: World, replicas: tuple[Box, Box]) -> None:
    host = world.hosts[0]
    for box in list(host.boxes):
        box.remove()
        host.boxes.remove(box)
    host.rules.close(remove=True)
    assert "pyswarm" not in ip(host.home, "nft", "list", "tables")
    assert host.home.route.link("vxi") is None
    assert "70" not in [line.partition(":")[0] for line in ip(host.home, "ip", "rule").splitlines()]
    assert [each.name for each in host.home.route.links() if each.name.startswith("gv")] == []


def test_ports_of_mode_host_are_open_on_their_host_alone(world: World) -> None:
    first, second, _ = world.hosts
    world.publish()
    box = first.box("b1", host_ports=published(9090, host=True))
    for version in VERSIONS:
        for kind in (TCP, UDP):
            assert ask(world.client, first.address(version), 9090, kind) == ("b1", CLIENT[version])
        assert ask(first.home, {4: "127.0.0.1", 6: "::1"}[version], 9090)[0] == "b1"
        assert ask(box.namespace, first.address(version), 9090)[0] == "b1"
        assert ask(second.home, first.address(version), 9090)[0] == "b1"
        with pytest.raises(ConnectionRefusedError):
            ask(world.client, second.address(version), 9090)
    box.remove()
    first.boxes.remove(box)
    with pytest.raises(ConnectionRefusedError):
        ask(world.client, first.v4, 9090)
