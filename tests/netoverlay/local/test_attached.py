"""Containers on a bridge of their host: each speaks for itself alone, as on overlays."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from netoverlay.containers.sandboxes import HostJoin, HostSegment, SandboxSpec
from netoverlay.local.attached import Attached
from netoverlay.local.driver import bridge_name, port_name
from netoverlay.netns import Namespace, Namespaces
from netoverlay.overlays.data_path import Door
from tests.netoverlay import frames
from tests.netoverlay.frames import arp, ethernet, ipv4
from tests.netoverlay.hosts import ip

pytestmark = pytest.mark.root
END = b"this was the last frame"


class World:
    """A host in a namespace of its own with three containers on a bridge: `evil`, `near` and `other`."""

    def __init__(self, folder: Path, *, antispoof: bool = True) -> None:
        self._outer = Namespaces(folder / "outer")
        self.host = self._outer.create("host")
        self.namespaces = Namespaces(folder / "netns", home=folder / "outer" / "host")
        self.attached = self.daemon()
        self.segment = HostSegment(
            id=uuid.uuid4().hex, name="lan", driver="bridge", subnets=("10.9.0.0/24",), gateways=("10.9.0.1",)
        )
        self.joins = {name: self._join(number) for number, name in enumerate(("evil", "near", "other"), 11)}
        if not antispoof:
            self.joins["evil"] = self._join(11, antispoof=False)
        self.boxes: dict[str, Namespace] = {}
        for name, join in self.joins.items():
            self.boxes[name] = self.namespaces.create(name)
            self.attached.join(join, self.boxes[name], name)

    def daemon(self) -> Attached:
        return Attached(self.namespaces, Door(self.namespaces.home))

    def _join(self, number: int, *, antispoof: bool = True) -> HostJoin:
        return HostJoin(
            segment=self.segment,
            interface="eth0",
            mac=f"02:00:00:00:00:{number:02x}",
            addresses=(f"10.9.0.{number}/24",),
            antispoof=antispoof,
        )

    def specs(self) -> list[SandboxSpec]:
        return [SandboxSpec(id=name, task_id=name, host_joins=(join,)) for name, join in self.joins.items()]

    def passed(self, *sent: bytes) -> list[bytes]:
        with (
            frames.packets(self.boxes["near"], "eth0") as ear,
            frames.packets(self.boxes["evil"], "eth0") as mouth,
        ):
            for each in sent:
                mouth.send(each)
            mouth.send(ethernet(self.joins["evil"].mac, 0x88B5, END))
            return [each for each in frames.heard(ear, END) if each in sent]

    def forged(self) -> list[bytes]:
        evil, other = self.joins["evil"].mac, self.joins["other"].mac
        return [
            ethernet(other, 0x88B5, bytes(50)),
            ipv4(evil, "10.9.0.13", "255.255.255.255"),
            arp(evil, evil, "10.9.0.1", "10.9.0.12", operation=2),
        ]

    def true(self) -> list[bytes]:
        evil = self.joins["evil"].mac
        return [ipv4(evil, "10.9.0.11", "255.255.255.255"), arp(evil, evil, "10.9.0.11", "10.9.0.12")]

    def answers(self, client: str, server: str) -> bool:
        target = self.joins[server].addresses[0].partition("/")[0]
        with (
            self.boxes[server].socket(socket.AF_INET, socket.SOCK_DGRAM) as port,
            self.boxes[client].socket(socket.AF_INET, socket.SOCK_DGRAM) as sending,
        ):
            port.bind((target, 7000))
            port.settimeout(10)
            sending.sendto(b"question", (target, 7000))
            return port.recv(100) == b"question"

    def close(self) -> None:
        for name in self.namespaces.names():
            self.namespaces.remove(name)
        self.namespaces.close()
        self._outer.remove("host")
        self._outer.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_forged_frames_do_not_pass_and_true_ones_do(world: World) -> None:
    assert world.passed(*world.forged(), *world.true()) == world.true()
    assert world.attached.reconcile() == 0


def test_a_stolen_mac_cuts_nobody_off(world: World) -> None:
    with frames.packets(world.boxes["evil"], "eth0") as mouth:
        mouth.send(ethernet(world.joins["other"].mac, 0x88B5, bytes(50)))
    assert world.answers("near", "other")


def test_a_service_that_is_free_of_it_may_speak_for_others_but_cuts_nobody_off(tmp_path: Path) -> None:
    world = World(tmp_path, antispoof=False)
    try:
        assert world.passed(*world.forged()) == world.forged()
        assert world.answers("near", "other")
    finally:
        world.close()


def test_a_restarted_daemon_fixes_ports_of_an_earlier_version(world: World) -> None:
    ip(world.host, "nft", "flush", "ruleset")
    port = port_name(world.segment, "evil")
    ip(world.host, "bridge", "link", "set", "dev", port, "learning", "on", "flood", "on")
    ip(
        world.host,
        "bridge",
        "fdb",
        "del",
        world.joins["other"].mac,
        "dev",
        port_name(world.segment, "other"),
        "master",
    )
    world.attached = world.daemon()
    world.attached.adopt(world.specs())
    assert world.passed(*world.forged(), *world.true()) == world.true()
    link = world.host.route.link(port)
    assert link is not None
    assert (link.port_learning, link.flooding) == (False, False)
    assert world.answers("near", "other")


def test_containers_that_leave_leave_nothing(world: World) -> None:
    for name, join in world.joins.items():
        world.attached.leave(join, name)
    world.attached.reconcile()
    rules = ip(world.host, "nft", "list", "ruleset")
    assert not any(join.mac in rules for join in world.joins.values())
    world.attached.forget()
    world.attached.remove(world.segment)
    assert ip(world.host, "nft", "list", "ruleset") == ""
    assert world.host.route.link(bridge_name(world.segment)) is None


def test_an_interface_that_cannot_be_made_leaves_nothing(world: World) -> None:
    join = world._join(14)  # to be eth0, which is there already
    with pytest.raises(NetlinkError):
        world.attached.join(join, world.boxes["evil"], "fourth")
    assert port_name(world.segment, "fourth") not in {link.name for link in world.host.route.links()}
    world.attached.reconcile()
    assert join.mac not in ip(world.host, "nft", "list", "ruleset")
