"""Hosts and containers as namespaces of one process, and the traffic between them."""

from __future__ import annotations

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec.structs import replace

from netoverlay.containers.sandboxes import Join, SandboxSpec
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Veth
from netoverlay.netns import Namespace, Namespaces
from netoverlay.overlays.fabric import Fabric
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlaySubnet,
    endpoint_mac,
)

DUAL = ("10.5.0.0/24", "fd05::/64")
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, ALWAYS = 10, 23, 2  # linux/in.h: IP_PMTUDISC_DO


def unique(what: str) -> str:
    return f"pst-{what}-{uuid.uuid4().hex[:8]}"


def eventually(condition: Callable[[], bool], what: str = "condition") -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def ip(namespace: Namespace, *words: str) -> str:
    """iproute2, as an administrator would."""
    program = ["nsenter", f"--net={namespace.path}", *words]
    return subprocess.run(program, capture_output=True, text=True, check=True).stdout


class Container:
    def __init__(self, host: Host, namespace: Namespace, task: str, join: Join) -> None:
        self.host, self.namespace, self.task, self.join = host, namespace, task, join

    @property
    def addresses(self) -> list[str]:
        return [each.partition("/")[0] for each in self.join.addresses]

    def endpoint(self, active: bool = True) -> OverlayEndpoint:
        return OverlayEndpoint(
            id=self.task,
            node_id=self.host.id,
            name=self.task,
            addresses=tuple(self.addresses),
            mac=self.join.mac,
            active=active,
        )


class Host:
    """Its namespaces, its fabric, and its VTEPs of both families."""

    def __init__(self, number: int, outside: Namespaces, directory: Path) -> None:
        self.id = f"node{number}"
        self.name = unique("host")
        self.outside = outside
        self.namespace = outside.create(self.name)
        self.directory = directory / self.id
        self.namespaces = Namespaces(self.directory, home=outside.file(self.name))
        self.fabric = Fabric(self.namespaces)
        self.v4, self.v6 = f"172.30.0.{number}", f"fd30::{number}"
        self.vtep = self.v4

    def container(self, network_id: str, task: str, *addresses: str, interface: str = "eth0") -> Container:
        mac = endpoint_mac(task, network_id)
        join = Join(network_id=network_id, interface=interface, mac=mac, addresses=addresses)
        return Container(self, self.namespaces.create(unique("box")), task, join)

    def overlay(self, network_id: str) -> Namespace:
        return self.namespaces.open(f"ov-{network_id[:12]}")

    def restart(self, *, clean: bool = False) -> None:
        """A daemon that was killed: another one has nothing but the kernel's state."""
        if clean:
            self.fabric.close()
        self.namespaces.close()
        self.namespaces = Namespaces(self.directory, home=self.outside.file(self.name))
        self.fabric = Fabric(self.namespaces)

    def close(self) -> None:
        self.fabric.close()
        for name in self.namespaces.names():
            self.namespaces.remove(name)
        self.namespaces.close()


def joined_hosts(directory: Path, mtu: int = 1500) -> Iterator[tuple[Host, Host]]:
    """Two hosts on one wire; everything is removed at the end."""
    outside = Namespaces(directory / "hosts")
    first, second = Host(1, outside, directory), Host(2, outside, directory)
    try:
        batch = RouteBatch()
        batch.make_link(Veth("up0", "up0", peer_netns_fd=second.namespace.fd, mtu=mtu))
        first.namespace.route.commit(batch)
        for host in (first, second):
            link = host.namespace.route.link("up0")
            assert link is not None
            batch = RouteBatch()
            batch.change_link(link.index, up=True)
            batch.put_address(link.index, f"{host.v4}/24")
            batch.put_address(link.index, f"{host.v6}/64")
            host.namespace.route.commit(batch)
        yield first, second
    finally:
        first.close()
        second.close()
        for name in outside.names():
            outside.remove(name)
        outside.close()


def network(*subnets: str, vni: int = 4096, mtu: int = 0, encrypted: bool = False) -> OverlayNetwork:
    """IPv4 subnets get VNIs of their own, IPv6 ones share that of the IPv4 one at the same place."""
    fours = [each for each in subnets if ":" not in each]
    sixes = [each for each in subnets if ":" in each]
    made = [(cidr, vni + place) for group in (fours, sixes) for place, cidr in enumerate(group)]
    return OverlayNetwork(
        id=f"net{uuid.uuid4().hex}",
        name="web",
        mtu=mtu,
        encrypted=encrypted,
        subnets=tuple(
            OverlaySubnet(
                subnet=cidr,
                gateway=cidr.partition("/")[0][:-1] + "1"
                if ":" not in cidr
                else cidr.partition("/")[0] + "1",
                vni=number,
            )
            for cidr, number in made
        ),
    )


_REVISIONS = iter(range(1, 1 << 30))


def table(of: OverlayNetwork, hosts: tuple[Host, ...], *containers: Container) -> NetworkTable:
    return NetworkTable(
        network=of,
        revision=next(_REVISIONS),
        nodes={host.id: OverlayNode(id=host.id, vtep=host.vtep) for host in hosts},
        endpoints={each.task: each.endpoint() for each in containers},
    )


def bring_up(of: OverlayNetwork, hosts: tuple[Host, ...], *containers: Container) -> NetworkTable:
    """All hosts have the table, all containers are joined."""
    made = table(of, hosts, *containers)
    for host in hosts:
        host.fabric.follow({of.id: made}, host.id, host.vtep)
    for each in containers:
        each.host.fabric.join(made, each.join, each.namespace, each.task)
    return made


def pair(hosts: tuple[Host, Host], *subnets: str) -> tuple[NetworkTable, Container, Container]:
    """A network with a container on each host."""
    made = network(*(subnets or DUAL))
    boxes = [
        host.container(
            made.id,
            unique(f"task{place}"),
            *(
                f"{each.subnet.partition('/')[0].removesuffix('0')}{place}/{each.subnet.partition('/')[2]}"
                for each in made.subnets
            ),
        )
        for place, host in enumerate(hosts, 11)
    ]
    return bring_up(made, hosts, *boxes), boxes[0], boxes[1]


def spec(box: Container) -> SandboxSpec:
    return SandboxSpec(id=box.task, task_id=box.task, joins=(box.join,))


def overlay_of(host: Host, made: NetworkTable) -> Namespace:
    return host.overlay(made.network.id)


def update(made: NetworkTable, *hosts: Host) -> None:
    for host in hosts:
        host.fabric.follow({made.network.id: made}, host.id, host.vtep)


def only(made: NetworkTable, *boxes: Container) -> NetworkTable:
    """The table with these endpoints alone."""
    return replace(made, revision=made.revision + 1, endpoints={each.task: each.endpoint() for each in boxes})


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def talk(client: Container, address: str, server: Container, size: int = 100_000) -> None:
    """Over TCP: the server gets `size` bytes, and sees the client's own address."""
    family = family_of(address)
    with server.namespace.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind((address, 0))
        listening.listen()
        listening.settimeout(20)
        with client.namespace.socket(family, socket.SOCK_STREAM) as sending:
            sending.settimeout(20)
            sending.connect((address, listening.getsockname()[1]))
            accepted, peer = listening.accept()
            with accepted:
                accepted.settimeout(20)
                assert peer[0] in client.addresses
                sending.sendall(os.urandom(size))
                sending.shutdown(socket.SHUT_WR)
                got = 0
                while data := accepted.recv(1 << 16):
                    got += len(data)
                assert got == size


def send_whole(client: Container, address: str, server: Container, packet: int) -> None:
    """One UDP packet of `packet` bytes, IP header included, that nobody may fragment, arrives."""
    family = family_of(address)
    level, option = (
        (socket.IPPROTO_IP, IP_MTU_DISCOVER)
        if family == socket.AF_INET
        else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
    )
    headers = 28 if family == socket.AF_INET else 48
    with (
        server.namespace.socket(family, socket.SOCK_DGRAM) as listening,
        client.namespace.socket(family, socket.SOCK_DGRAM) as sending,
    ):
        listening.bind((address, 0))
        listening.settimeout(20)
        sending.setsockopt(level, option, ALWAYS)
        payload = os.urandom(packet - headers)
        sending.sendto(payload, (address, listening.getsockname()[1]))
        assert listening.recv(1 << 16) == payload


def is_reachable(client: Container, address: str, timeout: float = 20) -> bool:
    """Whether something answers there: a refusal is an answer."""
    with client.namespace.socket(family_of(address), socket.SOCK_STREAM) as sending:
        sending.settimeout(timeout)
        try:
            sending.connect((address, 9))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True
