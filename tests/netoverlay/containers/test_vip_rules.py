"""Balancing with real connections in a container's namespace."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netoverlay.conntrack import ConntrackSocket, live_connections
from netoverlay.containers.vip import NetworkBalancing
from netoverlay.containers.vip_rules import ContainerRules
from netoverlay.netlink.exchange import Request
from netoverlay.netlink.wire import Message
from netoverlay.netns import Namespaces
from tests.netoverlay.nft.listing import listed, nft
from tests.netoverlay.traffic import (
    CLIENT,
    PORT,
    SERVERS,
    SERVERS6,
    VIP,
    VIP6,
    Connecting,
    Link,
    balanced,
    family,
    value,
)

pytestmark = pytest.mark.root
BOTH = pytest.mark.parametrize(("vip", "servers"), [(VIP, SERVERS), (VIP6, SERVERS6)], ids=["IPv4", "IPv6"])
DNS_PORT = 40053


@pytest.fixture
def link(namespaces: Namespaces) -> Iterator[Link]:
    made = Link(namespaces)
    yield made
    made.close()


@pytest.fixture
def rules(link: Link) -> ContainerRules:
    made = ContainerRules(link.client, DNS_PORT)
    made.install(fresh=True)
    return made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The walks through the kernel's table of flows, as they happen."""
    seen: list[str] = []
    dump = ConntrackSocket.dump

    def counted(self: ConntrackSocket, request: Request) -> list[Message]:
        seen.append(request.what)
        return dump(self, request)

    monkeypatch.setattr(ConntrackSocket, "dump", counted)
    return seen


@BOTH
def test_connections_spread_evenly(
    link: Link, rules: ContainerRules, vip: str, servers: tuple[str, ...]
) -> None:
    rules.balance(value(balanced(*servers, vip=vip)))
    taken = link.spread(link.listen(family(vip)), 1200, vip)
    assert set(taken) == set(servers)
    chi2 = sum((count - 200) ** 2 / 200 for count in taken.values())
    assert chi2 < 30.9  # five degrees of freedom: once in a hundred thousand runs


@BOTH
def test_a_service_without_replicas_refuses_at_once(
    link: Link, rules: ContainerRules, vip: str, servers: tuple[str, ...]
) -> None:
    listener = link.listen(family(vip))
    rules.balance(value(balanced(vip=vip)))
    with pytest.raises(ConnectionRefusedError):
        link.open(link.client, family(vip), socket.SOCK_STREAM).connect((vip, PORT))
    asking = link.open(link.client, family(vip), socket.SOCK_DGRAM)
    asking.connect((vip, PORT))
    with pytest.raises(PermissionError):  # what the kernel says where a local packet is rejected
        asking.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        asking.recv(10)
    rules.balance(value(balanced(*servers[:1], vip=vip)))
    assert link.spread(listener, 5, vip) == {servers[0]: 5}
    rules.balance(value(balanced(vip=vip)))
    with pytest.raises(ConnectionRefusedError):
        link.open(link.client, family(vip), socket.SOCK_STREAM).connect((vip, PORT))


@BOTH
def test_live_connections_go_on_while_their_replica_gets_no_new_ones(
    link: Link, rules: ContainerRules, vip: str, servers: tuple[str, ...]
) -> None:
    listener = link.listen(family(vip))
    rules.balance(value(balanced(*servers[:2], vip=vip)))
    live = [link.connect(listener, vip) for _ in range(40)]
    drained = [far for _, far in live if far.getsockname()[0] == servers[0]]
    assert 0 < len(drained) < 40
    rules.balance(value(balanced(servers[1], vip=vip)))
    assert set(link.spread(listener, 100, vip)) == {servers[1]}
    for near, far in live:
        near.send(b"still here")
        assert far.recv(100) == b"still here"
        far.send(b"me too")
        assert near.recv(100) == b"me too"
    assert live_connections(link.client, [servers[0]]) == len(drained)
    for near, far in live:
        if far in drained:
            near.close()
            far.close()
    assert live_connections(link.client, [servers[0]]) == 0
    assert live_connections(link.client, [vip]) == 40 - len(drained)


@BOTH
def test_udp_leaves_a_replica_that_is_finished(
    link: Link, rules: ContainerRules, vip: str, servers: tuple[str, ...]
) -> None:
    udp = link.receive(servers[:2])
    rules.balance(value(balanced(servers[0], vip=vip)))
    clients = []
    for _ in range(20):
        client = link.open(link.client, family(vip), socket.SOCK_DGRAM)
        client.connect((vip, PORT))
        clients.append(client)
        assert udp.ask(client) == servers[0]
    rules.balance(value(balanced(servers[1], vip=vip)))
    assert {udp.ask(client) for client in clients} == {servers[0]}
    assert rules.finished([servers[0]]) == 20
    assert {udp.ask(client) for client in clients} == {servers[1]}
    assert rules.finished([servers[0]]) == 0


@BOTH
def test_only_who_has_met_a_replica_looks_for_its_flows(
    link: Link, rules: ContainerRules, looks: list[str], vip: str, servers: tuple[str, ...]
) -> None:
    udp, tcp = link.receive(servers[:2]), link.listen(family(vip))
    client = link.open(link.client, family(vip), socket.SOCK_DGRAM)
    client.connect((vip, PORT))
    rules.balance(value(balanced(servers[0], vip=vip)))
    assert udp.ask(client) == servers[0]
    link.connect(tcp, servers[1])  # not balanced
    assert rules.finished([servers[1], servers[2]]) == 0
    assert looks == []
    # Another daemon goes on with what this one's rules have seen.
    later = ContainerRules(link.client, DNS_PORT)
    later.install()
    later.balance(value(balanced(servers[1], vip=vip)))
    assert (later.reconcile(), looks) == (0, [])
    assert later.finished([servers[0], servers[1]]) == 1
    assert len(looks) == 1
    assert udp.ask(client) == servers[1]
    # An address that comes again is met again.
    assert later.finished([servers[0]]) == 0
    assert len(looks) == 1
    link.connect(tcp, vip)
    assert later.finished([servers[1]]) == 2
    assert len(looks) == 2


@pytest.mark.parametrize("damage", ["flush ruleset", "flush chain inet pyswarm refuse-output"])
def test_flows_that_damaged_rules_missed_are_found_all_the_same(
    link: Link, rules: ContainerRules, looks: list[str], damage: str
) -> None:
    udp = link.receive(SERVERS[:2])
    client = link.open(link.client, socket.AF_INET, socket.SOCK_DGRAM)
    client.connect((VIP, PORT))
    rules.balance(value(balanced(SERVERS[0])))
    assert udp.ask(client) == SERVERS[0]
    nft(link.client, damage)
    rules.balance(value(balanced(SERVERS[1])))
    assert rules.finished([SERVERS[0]]) == 1
    rules.reconcile()
    assert udp.ask(client) == SERVERS[1]
    assert rules.finished([SERVERS[1]]) == 1
    assert len(looks) == 2


def test_a_connection_to_a_finished_replica_learns_that_it_ended(link: Link, rules: ContainerRules) -> None:
    listener = link.listen()
    rules.balance(value(balanced(SERVERS[0])))
    near, _ = link.connect(listener)
    rules.balance(value(balanced(SERVERS[1])))
    assert rules.finished([SERVERS[0]]) == 1
    near.send(b"anyone?")
    with pytest.raises(ConnectionResetError):
        near.recv(10)


def test_only_balanced_flows_to_the_finished_replica_are_forgotten(link: Link, rules: ContainerRules) -> None:
    listener = link.listen()
    rules.balance(value(balanced(SERVERS[1])))
    kept, _ = link.connect(listener)
    direct, far = link.connect(listener, SERVERS[0])
    assert rules.finished([SERVERS[0]]) == 0
    direct.send(b"on")
    assert far.recv(10) == b"on"
    assert live_connections(link.client, [SERVERS[0]]) == 1


def test_a_container_reaches_itself_through_its_own_service(link: Link, rules: ContainerRules) -> None:
    rules.balance(value(balanced(CLIENT)))
    listener = link.listen(at=link.client)
    near, far = link.connect(listener)
    assert far.getsockname()[0] == far.getpeername()[0] == CLIENT
    near.send(b"me")
    assert far.recv(10) == b"me"


def test_what_the_container_forwards_is_balanced_and_refused_too(
    link: Link, rules: ContainerRules, namespaces: Namespaces
) -> None:
    inner = link.inside(namespaces)
    listener = link.listen()
    rules.balance(value(balanced(SERVERS[3])))
    near = link.open(inner, socket.AF_INET, socket.SOCK_STREAM)
    near.connect((VIP, PORT))
    far, asker = listener.accept()
    with far:
        assert (far.getsockname()[0], asker[0]) == (SERVERS[3], "10.7.0.2")
    rules.balance(value(balanced()))
    with pytest.raises(ConnectionRefusedError):
        link.open(inner, socket.AF_INET, socket.SOCK_STREAM).connect((VIP, PORT))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["TCP", "UDP"])
def test_questions_to_the_name_servers_address_reach_its_port(
    link: Link, rules: ContainerRules, kind: socket.SocketKind
) -> None:
    server = link.open(link.client, socket.AF_INET, kind)
    server.bind(("127.0.0.11", DNS_PORT))
    own = link.open(link.client, socket.AF_INET, kind)
    own.bind(("0.0.0.0", 53))  # an application may have port 53 of its own
    asking = link.open(link.client, socket.AF_INET, kind)
    if kind is socket.SOCK_STREAM:
        server.listen()
    asking.connect(("127.0.0.11", 53))
    asking.send(b"who?")
    if kind is socket.SOCK_STREAM:
        server = server.accept()[0]
        assert server.recv(10) == b"who?"
        server.send(b"me")
        server.close()
    else:
        question, asker = server.recvfrom(10)
        server.sendto(b"me", asker)
    assert asking.recv(10) == b"me"


@pytest.mark.timeout(180)
@BOTH
def test_no_connection_fails_through_thousands_of_updates(
    link: Link, rules: ContainerRules, vip: str, servers: tuple[str, ...]
) -> None:
    values = [value(balanced(*servers[start : start + 3], vip=vip)) for start in range(4)]
    rules.balance(values[0])
    with Connecting(link, vip) as connecting:
        turn = 0
        while (turn < 3000 or connecting.made < 2000) and not connecting.failures:
            turn += 1
            rules.balance(values[turn % 4])
    assert connecting.failures == []


def test_rules_of_others_do_not_hinder_nor_get_hurt(link: Link, rules: ContainerRules) -> None:
    nft(
        link.client,
        """
        table ip nat { chain OUTPUT { type nat hook output priority -100; ip daddr 10.5.0.200 tcp dport 9 drop; }; }
        table inet filter { chain output { type filter hook output priority 0; policy accept; tcp dport 9 drop; }; }
        """,
    )
    foreign = nft(link.client, "list table ip nat") + nft(link.client, "list table inet filter")
    rules.balance(value(balanced(*SERVERS)))
    assert link.spread(link.listen(), 20).total() == 20
    assert nft(link.client, "list table ip nat") + nft(link.client, "list table inet filter") == foreign


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "flush chain inet pyswarm vip4-web-net",
        "flush chain inet pyswarm name-server",
        f"delete element inet pyswarm vips4 {{ {VIP} }}\nadd element inet pyswarm vips4 {{ {VIP} : drop }}",
        "insert rule inet pyswarm translate-output accept",
    ],
)
def test_balancing_comes_back_after_damage(link: Link, rules: ContainerRules, damage: str) -> None:
    rules.balance(value(balanced(*SERVERS[:2])))
    listener = link.listen()
    before = listed(link.client)
    assert rules.reconcile() == 0
    nft(link.client, damage)
    assert rules.reconcile() > 0
    assert rules.reconcile() == 0
    assert listed(link.client) == before
    assert set(link.spread(listener, 40)) == set(SERVERS[:2])


def test_a_daemon_that_starts_again_keeps_balancing_all_the_time(link: Link, rules: ContainerRules) -> None:
    rules.balance(value(balanced(*SERVERS[:2])))
    before = listed(link.client)
    listener = link.listen()
    successor = ContainerRules(link.client, DNS_PORT)
    successor.install()
    assert listed(link.client) == before
    assert link.spread(listener, 10).total() == 10
    successor.balance(value(balanced(SERVERS[2])))
    assert set(link.spread(listener, 10)) == {SERVERS[2]}
    assert successor.reconcile() == 0


def test_another_port_of_the_name_server_replaces_the_one_before(link: Link, rules: ContainerRules) -> None:
    rules.balance(value())
    successor = ContainerRules(link.client, 5353)
    successor.install()
    shown = nft(link.client, "list chain inet pyswarm name-server")
    assert shown.count("127.0.0.11:5353") == 2
    assert str(DNS_PORT) not in shown


ADDRESSES = st.lists(st.integers(10, 20), max_size=5, unique=True)
NETWORKS = st.dictionaries(
    st.sampled_from(["red", "green"]), st.dictionaries(st.sampled_from("abc"), ADDRESSES, max_size=3)
)


@settings(max_examples=40, deadline=None)
@given(history=st.lists(NETWORKS, min_size=1, max_size=6), port=st.none() | st.just(DNS_PORT))
def test_any_history_ends_with_the_rules_of_a_fresh_start(
    history: list[dict[str, dict[str, list[int]]]], port: int | None
) -> None:
    with TemporaryDirectory() as directory:
        namespaces = Namespaces(Path(directory) / "netns")
        try:
            long, fresh = (namespaces.create(f"vip-{uuid.uuid4().hex[:8]}") for _ in range(2))
            rules = ContainerRules(long, port)
            rules.install()
            for networks in history:
                parts = []
                for network, services in sorted(networks.items()):
                    third = 1 if network == "red" else 2
                    made = [
                        balanced(
                            *((f"fd0{third}::{each}" if six else f"10.{third}.0.{each}") for each in targets),
                            vip=f"fd0{third}::{ord(name)}" if six else f"10.{third}.1.{ord(name)}",
                            service=name,
                            network=network,
                        ).services[0]
                        for name, targets in sorted(services.items())
                        for six in (False, True)
                    ]
                    parts.append(NetworkBalancing(network_id=network, services=tuple(made)))
                last = value(*parts)
                rules.balance(last)
                assert rules.reconcile() == 0
            other = ContainerRules(fresh, port)
            other.balance(last)
            assert listed(long) == listed(fresh)
        finally:
            for name in namespaces.names():
                namespaces.remove(name)
            namespaces.close()
