"""Bridges and wire networks of one host, in real namespaces."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from netoverlay.containers.sandboxes import HostJoin, HostSegment
from netoverlay.local.driver import LocalDriver, bridge_name, port_name
from netoverlay.netns import Namespace, Namespaces
from swarmcore.errors import FailedPrecondition, Invalid

pytestmark = pytest.mark.root


class World:
    """A host in a namespace of its own, and sandboxes in it."""

    def __init__(self, folder: Path) -> None:
        self._outer = Namespaces(folder / "outer")
        self.host = self._outer.create("host")
        self.namespaces = Namespaces(folder / "netns", home=folder / "outer" / "host")
        self.driver = LocalDriver(self.namespaces)

    def sandbox(self, name: str) -> Namespace:
        return self.namespaces.create(name)

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


def segment(driver: str = "bridge", **more: object) -> HostSegment:
    return HostSegment(
        id=uuid.uuid4().hex,
        name="back",
        driver=driver,
        subnets=("10.9.0.0/24", "fd09::/64"),
        gateways=("10.9.0.1", "fd09::1"),
        **more,  # type: ignore[arg-type]
    )


def join(on: HostSegment, number: int) -> HostJoin:
    return HostJoin(
        segment=on,
        interface="eth0",
        mac=f"02:00:00:00:00:{number:02x}",
        addresses=(f"10.9.0.{number}/24", f"fd09::{number:x}/64"),
    )


def run(where: Namespace, *words: str) -> subprocess.CompletedProcess[str]:
    return where.run(lambda: subprocess.run(words, capture_output=True, text=True, check=False))


def reaches(where: Namespace, address: str) -> bool:
    return run(where, "busybox", "ping", "-c", "1", "-W", "2", address).returncode == 0


def test_containers_of_a_bridge_reach_each_other_and_the_host(world: World) -> None:
    net = segment()
    one, two = world.sandbox("one"), world.sandbox("two")
    world.driver.join(join(net, 2), one, "one")
    world.driver.join(join(net, 3), two, "two")
    for address in ("10.9.0.3", "fd09::3", "10.9.0.1", "fd09::1"):
        assert reaches(one, address), address
    world.driver.leave(join(net, 2), "one")
    assert not reaches(two, "10.9.0.2")
    world.driver.remove(net)
    assert bridge_name(net) not in run(world.host, "ip", "link").stdout


def test_a_bridge_without_communication_isolates_its_containers(world: World) -> None:
    net = segment(options={"com.docker.network.bridge.enable_icc": "false"})
    one, two = world.sandbox("one"), world.sandbox("two")
    world.driver.join(join(net, 2), one, "one")
    world.driver.join(join(net, 3), two, "two")
    assert reaches(one, "10.9.0.1")
    assert not reaches(one, "10.9.0.3")


def test_an_internal_bridge_does_not_lead_to_the_host(world: World) -> None:
    net = segment(internal=True)
    one, two = world.sandbox("one"), world.sandbox("two")
    world.driver.join(join(net, 2), one, "one")
    world.driver.join(join(net, 3), two, "two")
    assert reaches(one, "10.9.0.3")
    assert not reaches(one, "10.9.0.1")


def test_what_is_there_already_is_taken_up(world: World) -> None:
    net = segment()
    one = world.sandbox("one")
    world.driver.ensure(net)
    world.driver.ensure(net)
    world.driver.join(join(net, 2), one, "one")
    assert reaches(one, "10.9.0.1")
    assert world.driver.ports(known=[port_name(net, "one")]) == []
    assert world.driver.ports(known=[]) == [port_name(net, "one")]
    world.driver.delete_ports(world.driver.ports(known=[]))
    assert world.driver.ports(known=[]) == []


def test_macvlan_containers_sit_on_the_wire_of_their_parent(world: World) -> None:
    run(world.host, "ip", "link", "add", "wire", "type", "bridge")
    run(world.host, "ip", "link", "set", "wire", "up")
    net = segment("macvlan", options={"parent": "wire"})
    one, two = world.sandbox("one"), world.sandbox("two")
    world.driver.join(join(net, 2), one, "one")
    world.driver.join(join(net, 3), two, "two")
    assert reaches(one, "10.9.0.3")
    assert "default via 10.9.0.1 dev eth0" in run(one, "ip", "route").stdout
    assert "02:00:00:00:00:02" in run(one, "ip", "link").stdout
    world.driver.remove(net)
    assert "wire" in run(world.host, "ip", "link").stdout  # it is the user's


def test_a_parent_may_be_a_vlan_that_is_made_or_nothing_at_all(world: World) -> None:
    run(world.host, "ip", "link", "add", "wire", "type", "bridge")
    tagged = segment("macvlan", options={"parent": "wire.50"})
    done = run(world.host, "ip", "link", "add", "try", "link", "wire", "type", "vlan", "id", "9")
    if done.returncode == 0:
        world.driver.ensure(tagged)
        assert "wire.50@wire" in run(world.host, "ip", "link").stdout
        world.driver.remove(tagged)
    alone = segment("macvlan")
    world.driver.ensure(alone)
    world.driver.remove(alone)
    assert "dm-" not in run(world.host, "ip", "link").stdout
    assert "wire.50" not in run(world.host, "ip", "link").stdout


def test_what_cannot_be_is_said(world: World) -> None:
    with pytest.raises(FailedPrecondition, match="no device 'nowhere'"):
        world.driver.ensure(segment("macvlan", options={"parent": "nowhere"}))
    with pytest.raises(Invalid, match="unknown macvlan_mode 'odd'"):
        world.driver.ensure(segment("macvlan", options={"macvlan_mode": "odd"}))
    with pytest.raises(Invalid, match="longer than 15"):
        world.driver.ensure(segment(options={"com.docker.network.bridge.name": "a-very-long-bridge"}))


def test_a_kernel_without_the_driver_is_named(world: World) -> None:
    net = segment("ipvlan")
    sandbox = world.sandbox("one")
    try:
        world.driver.join(join(net, 2), sandbox, "one")
    except FailedPrecondition as error:
        assert "no ipvlan" in str(error)  # where the kernel lacks it
    else:
        assert "10.9.0.2/24" in run(sandbox, "ip", "address").stdout
