"""A container speaks with its own MAC and addresses, or is not heard: on its host, and on others."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from netoverlay.containers.antispoof import link_local
from netoverlay.containers.sandboxes import Join
from swarmcore.model.overlay import NetworkTable
from tests.netoverlay import frames
from tests.netoverlay.frames import arp, ethernet, icmp6, ipv4, ipv6, neighbour, tagged
from tests.netoverlay.hosts import (
    DUAL,
    Container,
    Host,
    bring_up,
    ip,
    network,
    overlay_of,
    spec,
    talk,
    unique,
    update,
)

pytestmark = pytest.mark.root
HOP_BY_HOP = bytes([58, 0, 1, 4, 0, 0, 0, 0])  # ICMPv6 follows; padding
END = b"this was the last frame"


class Scene:
    """`evil` and `near` are on one host, `far` on another; all on one network."""

    def __init__(self, hosts: tuple[Host, Host], *, antispoof: bool = True) -> None:
        self.hosts = hosts
        made = network(*DUAL)
        boxes = []
        for place, host in ((11, hosts[0]), (12, hosts[0]), (13, hosts[1])):
            box = host.container(made.id, unique("task"), f"10.5.0.{place}/24", f"fd05::{place}/64")
            if place == 11 and not antispoof:
                box.join = replace(box.join, antispoof=False)
            boxes.append(box)
        self.evil, self.near, self.far = boxes
        self.table: NetworkTable = bring_up(made, hosts, *boxes)

    def passed(self, *sent: bytes) -> list[bytes]:
        """Which of the frames that `evil` sends arrive at `near`."""
        with (
            frames.packets(self.near.namespace, "eth0") as ear,
            frames.packets(self.evil.namespace, "eth0") as mouth,
        ):
            for each in sent:
                mouth.send(each)
            mouth.send(ethernet(self.evil.join.mac, 0x88B5, END))
            return [each for each in frames.heard(ear, END) if each in sent]


@pytest.fixture
def scene(hosts: tuple[Host, Host]) -> Scene:
    return Scene(hosts)


Make = Callable[[Scene], bytes]
E, N, ROUTER = "10.5.0.11", "10.5.0.13", "fd05::1"


def mac(scene: Scene) -> str:
    return scene.evil.join.mac


def other(scene: Scene) -> str:
    return scene.far.join.mac


FORGED: dict[str, Make] = {
    "another's MAC": lambda s: ethernet(other(s), 0x88B5, bytes(50)),
    "IPv4 with another's MAC": lambda s: ipv4(other(s), E, "255.255.255.255"),
    "another's IPv4 address": lambda s: ipv4(mac(s), N, "255.255.255.255"),
    "another's IPv4 address in VLAN 0": lambda s: tagged(ipv4(mac(s), N, "255.255.255.255"), 0x8100),
    "in two tags": lambda s: tagged(ipv4(mac(s), N, "255.255.255.255"), 0x88A8, 0x8100),
    "another's IPv6 address": lambda s: ipv6(mac(s), "fd05::13", "ff02::1", bytes(8)),
    "IPv6 with another's MAC": lambda s: ipv6(other(s), "fd05::11", "ff02::1", bytes(8)),
    "another's link-local address": lambda s: ipv6(mac(s), link_local(other(s)), "ff02::1", bytes(8)),
    "IPv6 from nobody": lambda s: ipv6(mac(s), "::", "ff02::1", bytes(8)),
    "ARP for another's address": lambda s: arp(mac(s), mac(s), N, N),
    "ARP answer for another's address": lambda s: arp(mac(s), mac(s), N, E, operation=2),
    "ARP for the gateway": lambda s: arp(mac(s), mac(s), "10.5.0.1", "10.5.0.1", operation=2),
    "ARP with another's MAC inside": lambda s: arp(mac(s), other(s), E, N),
    "ARP with another's MAC outside": lambda s: arp(other(s), mac(s), E, N),
    "ARP of other sizes": lambda s: arp(mac(s), mac(s), E, N, sizes=b"\6\3"),
    "claims another's address": lambda s: neighbour(136, mac(s), "fd05::11", "fd05::13"),
    "claims it behind options": lambda s: neighbour(136, mac(s), "fd05::11", "fd05::13", before=HOP_BY_HOP),
    "claims another's link-local": lambda s: neighbour(136, mac(s), "fd05::11", link_local(other(s))),
    "asks as another": lambda s: neighbour(135, mac(s), "fd05::13", ROUTER),
    "disputes another's address": lambda s: neighbour(135, mac(s), "::", "fd05::13"),
    "is a router": lambda s: icmp6(mac(s), link_local(mac(s)), 134, bytes([64, 0, 7, 8]) + bytes(8)),
    "redirects": lambda s: icmp6(mac(s), link_local(mac(s)), 137, bytes(36)),
}  # fmt: skip
TRUE: dict[str, Make] = {
    "another protocol": lambda s: ethernet(mac(s), 0x88B6, bytes(50)),
    "IPv4 broadcast": lambda s: ipv4(mac(s), E, "255.255.255.255"),
    "IPv4 multicast": lambda s: ipv4(mac(s), E, "224.0.0.251", to="01:00:5e:00:00:fb"),
    "looks for DHCP": lambda s: ipv4(mac(s), "0.0.0.0", "255.255.255.255", port=67),
    "IPv6 multicast": lambda s: ipv6(mac(s), "fd05::11", "ff02::1", bytes(8)),
    "link-local": lambda s: ipv6(mac(s), link_local(mac(s)), "ff02::fb", bytes(8)),
    "ARP": lambda s: arp(mac(s), mac(s), E, N),
    "ARP announcement": lambda s: arp(mac(s), mac(s), E, E, operation=2),
    "ARP probe": lambda s: arp(mac(s), mac(s), "0.0.0.0", E),
    "neighbour solicitation": lambda s: neighbour(135, mac(s), "fd05::11", "fd05::12"),
    "neighbour advertisement": lambda s: neighbour(136, mac(s), "fd05::11", "fd05::11"),
    "claims its link-local": lambda s: neighbour(136, mac(s), link_local(mac(s)), link_local(mac(s))),
    "duplicate address detection": lambda s: neighbour(135, mac(s), "::", "fd05::11"),
    "and of its link-local": lambda s: neighbour(135, mac(s), "::", link_local(mac(s))),
    "multicast listener report": lambda s: icmp6(mac(s), "::", 143, bytes(24), before=HOP_BY_HOP),
    "router solicitation": lambda s: icmp6(mac(s), link_local(mac(s)), 133, bytes(4)),
    "ping": lambda s: icmp6(mac(s), "fd05::11", 128, bytes(8)),
}  # fmt: skip


def test_forged_frames_do_not_leave_the_port_and_true_ones_do(scene: Scene) -> None:
    forged = {make(scene): name for name, make in FORGED.items()}
    assert [forged[each] for each in scene.passed(*forged)] == []
    true = {make(scene): name for name, make in TRUE.items()}
    assert sorted(true[each] for each in scene.passed(*true)) == sorted(true.values())


def test_a_network_or_service_may_be_free_of_it(hosts: tuple[Host, Host]) -> None:
    scene = Scene(hosts, antispoof=False)
    forged = [make(scene) for name, make in FORGED.items() if "tag" not in name and "VLAN" not in name]
    assert set(scene.passed(*forged)) == set(forged)


def test_one_that_is_free_of_it_takes_over_a_virtual_mac_but_no_neighbours(hosts: tuple[Host, Host]) -> None:
    scene = Scene(hosts, antispoof=False)
    scene.passed(ethernet(scene.near.join.mac, 0x88B5, bytes(50)))
    virtual = "00:00:5e:00:01:07"  # of VRRP
    scene.passed(ethernet(virtual, 0x88B5, bytes(50)))
    with (
        frames.packets(scene.evil.namespace, "eth0") as ear,
        frames.packets(scene.near.namespace, "eth0") as mouth,
    ):
        mouth.send(ethernet(scene.near.join.mac, 0x88B5, END, virtual))
        frames.heard(ear, END)  # the bridge has learned where it is
    for address in scene.near.addresses:
        talk(scene.far, address, scene.near)


def test_a_stolen_mac_cuts_nobody_off(scene: Scene) -> None:
    """Of a neighbour, of one on another host, and of the gateway: as it was before, one frame was enough."""
    bridge = overlay_of(scene.hosts[0], scene.table).route.link("br0")
    assert bridge is not None
    with frames.packets(scene.evil.namespace, "eth0") as mouth:
        for victim in (scene.near.join.mac, scene.far.join.mac, bridge.mac):
            mouth.send(ethernet(victim, 0x88B5, bytes(50)))
        for address in scene.near.addresses:
            talk(scene.far, address, scene.near)
        for address in scene.far.addresses:
            talk(scene.near, address, scene.far)


def test_frames_for_one_container_are_seen_by_no_other(scene: Scene) -> None:
    with (
        frames.packets(scene.evil.namespace, "eth0") as ear,
        frames.packets(scene.near.namespace, "eth0") as mouth,
    ):
        mouth.send(ethernet(scene.near.join.mac, 0x88B5, b"to nobody", "02:99:99:99:99:99"))
        talk(scene.near, scene.far.addresses[0], scene.far)
        talk(scene.far, scene.near.addresses[0], scene.near)
        mouth.send(ethernet(scene.near.join.mac, 0x88B5, END))
        own = frames.mac(scene.near.join.mac)
        assert [each for each in frames.heard(ear, END) if own in each[:12] and each[0] & 1 == 0] == []


def test_an_address_that_a_container_takes_by_itself_is_not_its(scene: Scene) -> None:
    for cidr in ("10.5.0.99/24", "fd05::99/64"):
        ip(
            scene.evil.namespace,
            "ip",
            "address",
            "add",
            cidr,
            "dev",
            "eth0",
            *(["nodad"] if ":" in cidr else []),
        )
    with scene.near.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("10.5.0.12", 7000))
        port.settimeout(10)
        for source in ("10.5.0.99", "10.5.0.11"):
            with scene.evil.namespace.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
                sending.bind((source, 0))
                sending.sendto(source.encode(), ("10.5.0.12", 7000))
        assert port.recv(100) == b"10.5.0.11"


@pytest.mark.parametrize(
    "command",
    [
        "nft flush ruleset",
        "nft delete table bridge pyswarm-ports",
        "nft flush chain bridge pyswarm-ports ports",
        "nft flush set bridge pyswarm-ports given4",
    ],
)
def test_rules_that_somebody_takes_away_come_back(scene: Scene, command: str) -> None:
    host, namespace = scene.hosts[0], overlay_of(scene.hosts[0], scene.table)
    assert host.fabric.reconcile() == 0
    ip(namespace, *command.split())
    assert host.fabric.reconcile() > 0
    assert host.fabric.reconcile() == 0
    forged = FORGED["another's IPv4 address"](scene)
    assert scene.passed(forged, TRUE["IPv4 broadcast"](scene)) == [TRUE["IPv4 broadcast"](scene)]


def test_a_restarted_daemon_finds_the_ports_as_they_were(scene: Scene) -> None:
    host = scene.hosts[0]
    namespace = overlay_of(host, scene.table)
    before = ip(namespace, "nft", "list", "ruleset")
    boxes: list[Container] = [scene.evil, scene.near]
    host.restart(clean=True)
    for box in boxes:
        box.namespace = host.namespaces.open(box.namespace.name)
    host.fabric.adopt([spec(box) for box in boxes], {box.task: box.namespace for box in boxes})
    update(scene.table, host)
    after = ip(overlay_of(host, scene.table), "nft", "list", "ruleset")
    assert sorted(after.split()) == sorted(before.split())
    assert host.fabric.reconcile() == 0


def test_a_container_that_leaves_takes_its_rules_along(scene: Scene) -> None:
    host = scene.hosts[0]
    namespace = overlay_of(host, scene.table)
    host.fabric.leave(scene.table.network.id, scene.evil.task)
    host.fabric.reconcile()
    rules = ip(namespace, "nft", "list", "ruleset")
    assert scene.evil.join.mac not in rules
    assert scene.near.join.mac in rules


def test_a_join_of_an_earlier_version_is_checked() -> None:
    assert Join(network_id="n", interface="eth0", mac="", addresses=()).antispoof
