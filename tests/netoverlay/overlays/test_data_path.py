"""The data path port belongs to the hosts: no container reaches it, here or elsewhere, and no stranger."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from netoverlay.containers.sandboxes import HostJoin, HostSegment
from netoverlay.local.driver import LocalDriver, bridge_name
from netoverlay.netns import Namespace
from netoverlay.overlays.data_path import Door
from swarmcore.model.overlay import NetworkTable
from tests.netoverlay.hosts import family_of, ip, unique
from tests.netoverlay.mesh.hosts import CLIENT, UDP, MeshHost, World, worlds

pytestmark = pytest.mark.root
PORT = 4790  # as configured; the kernel's VXLAN has the usual one
VERSIONS = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """With a door at every host, which knows all three as nodes."""
    for made in worlds(tmp_path):
        made.publish()
        for host in made.hosts:
            Door(host.home).follow([table_of(made)])
        yield made


def table_of(world: World) -> NetworkTable:
    """All hosts' addresses of both families are nodes'."""
    table = world.table
    six = {f"{key}-6": replace(node, vtep=node.host_addresses[1]) for key, node in table.nodes.items()}
    return replace(table, network=replace(table.network, port=PORT), nodes={**table.nodes, **six})


@contextmanager
def listening(host: MeshHost) -> Iterator[socket.socket]:
    with host.home.socket(socket.AF_INET6, UDP) as made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", PORT))
        made.settimeout(10)
        yield made


def send(namespace: Namespace, address: str, what: bytes) -> None:
    with namespace.socket(family_of(address), UDP) as sending:
        sending.sendto(what, (address, PORT))


def heard(world: World, host: MeshHost, version: int, *senders: Namespace) -> bytes:
    """What arrives first at the host's port: of these, or of another node, which sends last."""
    other = next(each for each in world.hosts if each is not host)
    with listening(host) as port:
        for each in senders:
            send(each, host.address(version), b"forged")
        send(other.home, host.address(version), b"a node's")
        return port.recv(100)


@VERSIONS
@pytest.mark.parametrize("place", [0, 21], ids=["no ingress address", "ingress address"])
def test_a_container_reaches_the_port_of_no_host(world: World, version: int, place: int) -> None:
    box = world.hosts[0].box("b1", place)
    for host in world.hosts:
        assert heard(world, host, version, box.namespace) == b"a node's"


@VERSIONS
def test_who_is_no_node_does_not_reach_it(world: World, version: int) -> None:
    assert heard(world, world.hosts[0], version, world.client) == b"a node's"


@VERSIONS
def test_nor_does_the_host_itself(world: World, version: int) -> None:
    """A container on the host's network would speak to VXLAN by its loopback."""
    host = world.hosts[0]
    assert heard(world, host, version, host.home) == b"a node's"


def test_nor_a_container_on_a_bridge_of_its_host(world: World) -> None:
    host = world.hosts[0]
    segment = HostSegment(
        id=unique("seg"), name="lan", driver="bridge", subnets=("10.92.0.0/24",), gateways=("10.92.0.1",)
    )
    driver, sandbox = LocalDriver(host.namespaces), host.namespaces.create(unique("box"))
    join = HostJoin(segment=segment, interface="eth0", mac="02:00:00:00:00:05", addresses=("10.92.0.5/24",))
    driver.join(join, sandbox, "box")
    ip(sandbox, "ip", "route", "add", "default", "via", "10.92.0.1")
    ip(host.namespace, "nft", "add table ip nat; add chain ip nat post { type nat hook postrouting priority 100; };"
       "add rule ip nat post ip saddr 10.92.0.0/24 masquerade")  # fmt: skip
    for other in world.hosts:
        # As for Docker's containers: its address is no node's.
        assert heard(world, other, 4, sandbox) == b"a node's"
    door = Door(host.home)
    door.guard({bridge_name(segment)})  # no manager has spoken yet
    assert heard(world, host, 4, world.client) == b"a node's"
    door.follow([table_of(world)])
    ip(sandbox, "ip", "address", "add", f"{host.v4}/32", "dev", "lo")
    with (
        world.hosts[1].home.socket(socket.AF_INET, UDP) as port,
        sandbox.socket(socket.AF_INET, UDP) as forging,
    ):
        port.bind(("", PORT))
        port.settimeout(10)
        forging.bind((host.v4, 0))
        forging.sendto(b"forged", (world.hosts[1].v4, PORT))
        send(host.home, world.hosts[1].v4, b"a node's")
        assert port.recv(100) == b"a node's"


def test_other_ports_of_hosts_and_the_same_port_elsewhere_are_nobodys_business(world: World) -> None:
    box = world.hosts[0].box("b1")
    with world.client.socket(socket.AF_INET, UDP) as port:
        port.bind(("", PORT))
        port.settimeout(10)
        send(world.hosts[0].home, CLIENT[4], b"host")
        assert port.recv(100) == b"host"
    with (
        world.hosts[1].home.socket(socket.AF_INET, UDP) as port,
        box.namespace.socket(socket.AF_INET, UDP) as near,
    ):
        port.bind(("", PORT + 1))
        port.settimeout(10)
        near.sendto(b"to another port", (world.hosts[1].v4, PORT + 1))
        assert port.recv(100) == b"to another port"


def test_the_door_follows_the_tables_and_is_mended_and_goes_without_a_trace(world: World) -> None:
    host = world.hosts[0]
    door = Door(host.home)
    table = table_of(world)
    door.follow([table])
    assert door.reconcile() == 0
    ip(host.namespace, "nft", "delete", "table", "inet", "pyswarm-door")
    assert door.reconcile() > 0
    assert heard(world, host, 4, world.client) == b"a node's"
    few = replace(table, nodes={key: node for key, node in table.nodes.items() if key != world.hosts[1].id})
    door.follow([few])
    with listening(host) as port:
        send(world.hosts[1].home, host.v4, b"removed")
        send(world.hosts[2].home, host.v4, b"a node's")
        assert port.recv(100) == b"a node's"
    door.remove()
    assert "pyswarm-door" not in ip(host.namespace, "nft", "list", "ruleset")
