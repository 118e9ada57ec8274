"""Whatever somebody deletes of the mesh comes back, and nothing is written where nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netoverlay.hosts import ip
from tests.netoverlay.mesh.hosts import CLIENT, Box, World, ask, service, worlds
from tests.netoverlay.nft.listing import nft

pytestmark = pytest.mark.root


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path)


@pytest.fixture
def box(world: World) -> Box:
    """The only replica, on the second host."""
    made = world.hosts[1].box("b2", 22)
    world.publish(made)
    return made


@pytest.mark.parametrize("which", [0, 1], ids=["the asked host", "the replica's host"])
@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete vxi",
        "ip link set vxi down",
        "ip link set vxi mtu 1280",
        "ip link set vxi address 02:00:00:00:00:99",
        "ip address flush dev vxi",
        "ip neighbour flush dev vxi nud permanent",
        "ip -6 neighbour flush dev vxi nud permanent",
        "bridge fdb delete 02:70:73:00:00:0{other} dev vxi",
        "bridge fdb replace 02:70:73:00:00:0{other} dev vxi dst 192.0.2.1 self permanent",
        "ip route flush table 700{other}",
        "ip -6 route flush table 700{other}",
        "ip rule flush",
        "ip rule delete pref 701",
        "ip -6 rule delete pref 40000",
        "nft delete table inet pyswarm-mesh",
        "nft flush ruleset",
        "nft flush chain inet pyswarm-mesh tcp-8080",
        "nft add rule inet pyswarm-mesh forward drop",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "sysctl -qw net.ipv4.conf.vxi.rp_filter=1",
    ],
)
def test_damage_is_found_and_mended(world: World, box: Box, damage: str, which: int) -> None:
    host = world.hosts[which]
    host.rules.reconcile()
    ip(host.home, *damage.format(other=2 - which).split())
    if damage == "ip rule flush":  # the kernel's own are not ours to bring back
        for family in ("-4", "-6"):
            for priority, name in ((32766, "main"), (32767, "default")):
                ip(host.home, *f"ip {family} rule add pref {priority} lookup {name}".split())
            ip(host.home, *f"ip {family} route flush cache".split())
    assert host.rules.reconcile() > 0
    for version in (4, 6):
        assert ask(world.client, world.hosts[0].address(version)) == ("b2", CLIENT[version])
    host.rules.reconcile()
    assert host.rules.reconcile() == 0


def test_nothing_is_written_where_nothing_changed(world: World, box: Box) -> None:
    host = world.hosts[0]
    host.rules.reconcile()
    generation = host.home.nft.generation()
    host.rules.follow(world.table, host.id)
    assert host.rules.reconcile() == 0
    assert host.home.nft.generation() == generation


def test_rules_of_others_with_other_protocols_are_left_alone(world: World, box: Box) -> None:
    host = world.hosts[0]
    ip(host.home, *["ip", "rule", "add", "pref", "1000", "from", "192.0.2.7", "lookup", "7002"])
    ip(host.home, *["ip", "rule", "add", "pref", "90", "fwmark", "0x70005/0xffffff", "lookup", "5"])
    assert host.rules.reconcile() == 0
    host.rules.close(remove=True)
    left = ip(host.home, "ip", "rule")
    assert "from 192.0.2.7" in left
    assert "0x70005" in left
    host.rules.forward_packets()


def test_a_service_that_changes_does_not_touch_rules_of_another(world: World, box: Box) -> None:
    other = service("other", port=8081)
    endpoints = {box.spec.task_id: box.endpoint()}
    world.apply(endpoints, (service(), other))
    host = world.hosts[0]
    before = nft(host.home, "list chain inet pyswarm-mesh tcp-8080")
    handles = ip(host.home, *["nft", "-a", "list", "chain", "inet", "pyswarm-mesh", "tcp-8080"])
    world.apply(endpoints, (service(),))
    assert nft(host.home, "list chain inet pyswarm-mesh tcp-8080") == before
    assert ip(host.home, *["nft", "-a", "list", "chain", "inet", "pyswarm-mesh", "tcp-8080"]) == handles


def test_the_ingress_network_can_go_and_come_back(world: World, box: Box) -> None:
    for host in world.hosts:
        host.rules.follow(None, host.id)
        assert host.home.route.link("vxi") is None
    for host in world.hosts:
        host.rules.follow(world.table, host.id)
    assert ask(world.client, world.hosts[0].v4) == ("b2", CLIENT[4])
