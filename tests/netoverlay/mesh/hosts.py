"""A swarm of namespaces for the mesh: hosts behind a switch, a client behind a router, real servers in containers."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.mesh.mesh import HostRules
from netoverlay.mesh.ports import Way
from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Bridge, Veth
from netoverlay.netlink.routing import Route
from netoverlay.netns import Namespace, Namespaces
from swarmcore.model.endpoint import PortConfig, Protocol, PublishMode
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
    OverlaySubnet,
)
from tests.netoverlay.hosts import eventually, family_of, unique

CLIENT = {4: "198.51.100.10", 6: "2001:db8:51::10"}
PUBLISHED, TARGET = 8080, 8000
TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
PREFIX6 = "fdc0:1:2:3::"
PATIENCE = 10.0


def ingress_network() -> OverlayNetwork:
    return OverlayNetwork(
        id="ingress0",
        name="ingress",
        ingress=True,
        subnets=(
            OverlaySubnet(subnet="10.0.0.0/20", gateway="10.0.0.1", vni=4096),
            OverlaySubnet(subnet=f"{PREFIX6}/112", gateway=f"{PREFIX6}1", vni=4096),
        ),
    )


def published(port: int = PUBLISHED, target: int = TARGET, *, host: bool = False) -> tuple[PortConfig, ...]:
    """TCP and UDP."""
    return tuple(
        PortConfig(
            protocol=each,
            target_port=target,
            published_port=port,
            publish_mode=PublishMode.HOST if host else PublishMode.INGRESS,
        )
        for each in (Protocol.TCP, Protocol.UDP)
    )


def service(name: str = "web", *, local_only: bool = False, port: int = PUBLISHED) -> OverlayService:
    return OverlayService(id=name, name=name, ports=published(port), local_only=local_only)


class Server(threading.Thread):
    """Answers each connection and packet with its name and the address that it sees, then echoes."""

    def __init__(self, namespace: Namespace, name: str, port: int = TARGET) -> None:
        super().__init__(name=name, daemon=True)
        self.title = name
        self.port = port
        self._wake, self._woken = socket.socketpair()
        self._listening = [_listening(namespace, kind, port) for kind in (TCP, UDP)]
        self._open: list[socket.socket] = []
        self.start()

    def run(self) -> None:
        stream, packets = self._listening
        while True:
            ready, _, _ = select.select([self._woken, stream, packets, *self._open], [], [])
            if self._woken in ready:
                return
            for each in ready:
                with contextlib.suppress(OSError):  # a client that went away
                    if each is stream:
                        accepted, peer = stream.accept()
                        accepted.settimeout(PATIENCE)
                        self._open.append(accepted)
                        accepted.sendall(self._greeting(peer))
                    elif each is packets:
                        data, peer = packets.recvfrom(65535)
                        packets.sendto(self._greeting(peer) if data == b"?" else data, peer)
                    else:
                        self._echo(each)

    def _echo(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            data = connection.recv(65536)
            if data:
                connection.sendall(data)
                return
        self._open.remove(connection)
        connection.close()

    def _greeting(self, peer: tuple[str, int]) -> bytes:
        return f"{self.title} {peer[0].removeprefix('::ffff:')} {peer[1]}\n".encode()

    def stop(self) -> None:
        self._wake.send(b"x")
        self.join()
        for each in (*self._listening, *self._open, self._wake, self._woken):
            each.close()


def _listening(namespace: Namespace, kind: int, port: int) -> socket.socket:
    made = namespace.socket(socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)  # who was announced may be gone when we look
    made.bind(("::", port))
    if kind == TCP:
        made.listen(128)
    return made


class Connection:
    """A client's connection to a server; `name` and `seen` are what the server says."""

    def __init__(
        self, namespace: Namespace, address: str, port: int, kind: int = TCP, source_port: int = 0
    ) -> None:
        self.socket = namespace.socket(family_of(address), kind)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.settimeout(PATIENCE)
            if source_port:
                self.socket.bind(("", source_port))
            self.socket.connect((address, port))
            if kind == UDP:
                self.socket.send(b"?")
            self.name, self.seen, _ = self.socket.recv(200).decode().split()
        except BaseException:
            self.socket.close()
            raise

    def alive(self) -> bool:
        self.socket.sendall(b"still there")
        return self.socket.recv(100) == b"still there"

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


def ask(namespace: Namespace, address: str, port: int = PUBLISHED, kind: int = TCP) -> tuple[str, str]:
    """Who answered, and whom they saw."""
    with Connection(namespace, address, port, kind) as found:
        return found.name, found.seen


def is_reachable(namespace: Namespace, address: str, port: int = 9, timeout: float = PATIENCE) -> bool:
    """Whether something answers there: a refusal is an answer."""
    with namespace.socket(family_of(address), TCP) as sending:
        sending.settimeout(timeout)
        try:
            sending.connect((address, port))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return True


def wait_until_up(namespace: Namespace, address: str, port: int) -> None:
    """A wire that just came up loses packets for a moment, and TCP waits a second before it sends again."""
    eventually(lambda: is_reachable(namespace, address, port, timeout=0.05), f"{address} is up")


class Box:
    """A container with a server."""

    def __init__(self, host: MeshHost, name: str, spec: SandboxSpec) -> None:
        self.host, self.name, self.spec = host, name, spec
        self.file = unique("box")
        self.namespace = host.namespaces.create(self.file)
        host.rules.connect(spec, self.namespace)
        self.server: Server | None = Server(self.namespace, name)
        for address in self.way.addresses:  # a wire that just came up loses packets for a moment
            wait_until_up(host.home, address, TARGET)

    @property
    def way(self) -> Way:
        way = self.host.rules._gateways.way(self.spec.id)
        assert way is not None
        return way

    def endpoint(self, service_id: str = "web", active: bool = True) -> OverlayEndpoint:
        return OverlayEndpoint(
            id=self.spec.task_id,
            node_id=self.host.id,
            name=self.name,
            service_id=service_id,
            addresses=tuple(each.partition("/")[0] for each in self.spec.ingress),
            active=active,
        )

    def end(self) -> None:
        """The container ends: its process, then what the host has for it."""
        if self.server is not None:
            self.server.stop()
            self.server = None

    def remove(self) -> None:
        self.end()
        self.host.rules.disconnect(self.spec.id)
        self.host.namespaces.remove(self.file)


class MeshHost:
    def __init__(self, number: int, outside: Namespaces, directory: Path) -> None:
        self.number = number
        self.id = f"node{number}"
        self.name = unique(f"mesh{number}")
        self.outside = outside
        self.namespace = outside.create(self.name)
        self.directory = directory / self.id
        self.namespaces = Namespaces(self.directory, home=outside.file(self.name))
        self.rules = HostRules(self.namespaces)
        self.boxes: list[Box] = []
        self.v4, self.v6 = f"172.29.0.{number}", f"fd29::{number:x}"
        self.vtep = self.v4

    @property
    def home(self) -> Namespace:
        return self.namespaces.home

    def node(self) -> OverlayNode:
        return OverlayNode(
            id=self.id,
            vtep=self.vtep,
            number=self.number,
            host_addresses=(self.v4, self.v6),
            addresses=(f"10.0.0.{self.number}", f"{PREFIX6}{self.number:x}"),
        )

    def address(self, version: int) -> str:
        return self.v4 if version == 4 else self.v6

    def box(self, name: str, place: int = 0, **more: object) -> Box:
        """A container; with a `place` it has addresses on the ingress network."""
        task = unique(name)
        ingress = (f"10.0.0.{place}/20", f"{PREFIX6}{place:x}/112") if place else ()
        spec = replace(SandboxSpec(id=task, task_id=task, ingress=ingress), **more)
        made = Box(self, name, spec)
        self.boxes.append(made)
        return made

    def restart(self) -> None:
        """The daemon is killed, another one begins with nothing but its containers' specs."""
        notices = self.rules._notices
        if notices is not None:
            notices.close()
        for box in self.boxes:
            box.namespace.close()
        self.namespaces.close()
        self.namespaces = Namespaces(self.directory, home=self.outside.file(self.name))
        self.rules = HostRules(self.namespaces)
        self.rules.forward_packets(self.vtep)
        self.rules.adopt([box.spec for box in self.boxes])

    def close(self) -> None:
        for box in self.boxes:
            box.end()
        self.rules.close()
        for name in self.namespaces.names():
            self.namespaces.remove(name)
        self.namespaces.close()


class World:
    """Three hosts, their switch, and a client."""

    def __init__(self, directory: Path) -> None:
        self.outside = Namespaces(directory / "hosts")
        self.switch = self.outside.create(unique("switch"))
        self.client = self.outside.create(unique("client"))
        self.hosts = tuple(MeshHost(number, self.outside, directory) for number in (1, 2, 3))
        self.revision = 0
        self.table = NetworkTable(network=ingress_network())

    def begin(self) -> None:
        self._wire()
        for host in self.hosts:
            host.rules.forward_packets(host.v4)
            for each in (host.v4, host.v6):
                wait_until_up(self.client, each, 9)

    def _wire(self) -> None:
        for each in (self.switch, self.client, *(host.namespace for host in self.hosts)):
            each.sysctl("net.ipv6.conf.default.accept_dad", 0)  # it takes seconds
        batch = RouteBatch()
        batch.make_link(Bridge("br0"))
        batch.make_link(Veth("client", "eth0", peer_netns_fd=self.client.fd, up=True))
        self.switch.route.commit(batch)
        bridge, to_client = self._index(self.switch, "br0"), self._index(self.switch, "client")
        self.switch.sysctls({"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1})
        self._give(self.switch, bridge, "172.29.0.254/24", "fd29::ff/64")
        self._give(self.switch, to_client, "198.51.100.1/24", "2001:db8:51::1/64")
        self._give(self.client, self._index(self.client, "eth0"), f"{CLIENT[4]}/24", f"{CLIENT[6]}/64")
        self._default(self.client, "198.51.100.1", "2001:db8:51::1")
        for host in self.hosts:
            batch = RouteBatch()
            batch.make_link(
                Veth(f"port{host.number}", "eth0", peer_netns_fd=host.namespace.fd, master=bridge, up=True)
            )
            self.switch.route.commit(batch)
            index = self._index(host.namespace, "eth0")
            self._give(host.namespace, index, f"{host.v4}/24", f"{host.v6}/64")
            self._default(host.namespace, "172.29.0.254", "fd29::ff")

    @staticmethod
    def _index(namespace: Namespace, name: str) -> int:
        link = namespace.route.link(name)
        assert link is not None
        return link.index

    @staticmethod
    def _give(namespace: Namespace, index: int, *addresses: str) -> None:
        batch = RouteBatch()
        batch.change_link(index, up=True)
        for each in addresses:
            batch.put_address(index, each)
        namespace.route.commit(batch)

    @staticmethod
    def _default(namespace: Namespace, *gateways: str) -> None:
        batch = RouteBatch()
        for each in gateways:
            batch.put_route(Route("default", gateway=each))
        namespace.route.commit(batch)

    def publish(self, *boxes: Box, of: tuple[OverlayService, ...] | None = None, **inactive: bool) -> None:
        """All hosts learn that these containers are the services' replicas (each of service "web" if not said)."""
        services = of if of is not None else (service(),)
        self.apply({each.spec.task_id: each.endpoint(services[0].id) for each in boxes}, services)

    def move_underlay(self, version: int) -> None:
        """All hosts use their addresses of this IP version as data path addresses."""
        for host in self.hosts:
            host.vtep = host.address(version)
        self.apply(dict(self.table.endpoints), tuple(self.table.services.values()))

    def apply(
        self,
        endpoints: dict[str, OverlayEndpoint],
        services: tuple[OverlayService, ...],
        hosts: tuple[MeshHost, ...] | None = None,
    ) -> None:
        self.revision += 1
        members = self.hosts if hosts is None else hosts
        self.table = replace(
            self.table,
            revision=self.revision,
            nodes={host.id: host.node() for host in members},
            services={each.id: each for each in services},
            endpoints=endpoints,
        )
        for host in members:
            host.rules.follow(self.table, host.id)

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        for name in self.outside.names():
            self.outside.remove(name)
        self.outside.close()


def worlds(directory: Path) -> Iterator[World]:
    made = World(directory)
    try:
        made.begin()
        yield made
    finally:
        made.close()
