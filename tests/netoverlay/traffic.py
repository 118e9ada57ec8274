"""A client and its servers on one link, for rules that only real connections can prove."""

from __future__ import annotations

import select
import socket
import subprocess
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from threading import Event, Thread

from netoverlay.containers.vip import Balancing, NetworkBalancing, VirtualService
from netoverlay.netns import Namespace, Namespaces

VIP, VIP6 = "10.5.0.200", "fd05::200"
CLIENT, CLIENT6 = "10.5.0.2", "fd05::2"
SERVERS = tuple(f"10.5.0.{10 + each}" for each in range(6))
SERVERS6 = tuple(f"fd05::{10 + each:x}" for each in range(6))
PORT = 8000


def balanced(*targets: str, vip: str = VIP, service: str = "web", network: str = "net") -> NetworkBalancing:
    made = VirtualService(service_id=service, name=service, vip=vip, targets=targets)
    return NetworkBalancing(network_id=network, services=(made,))


def value(*networks: NetworkBalancing) -> Balancing:
    return Balancing(networks=networks)


def family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Link:
    """Two namespaces: `client` has one address of each family, `servers` has six. Closes what it opened."""

    def __init__(self, namespaces: Namespaces) -> None:
        self.client = namespaces.create(f"vip-{uuid.uuid4().hex[:8]}")
        self.servers = namespaces.create(f"vip-{uuid.uuid4().hex[:8]}")
        self._opened = ExitStack()
        self._ip(self.client, f"link add eth0 type veth peer name eth0 netns {self.servers.path}")
        for namespace, addresses in ((self.client, (CLIENT, CLIENT6)), (self.servers, (*SERVERS, *SERVERS6))):
            for each in addresses:
                self._ip(
                    namespace,
                    f"address add {each}/{64 if ':' in each else 24} dev eth0 {'nodad' * (':' in each)}",
                )
            self._ip(namespace, "link set eth0 up")

    @staticmethod
    def _ip(namespace: Namespace, command: str) -> None:
        subprocess.run(["nsenter", f"--net={namespace.path}", "ip", *command.split()], check=True)

    def close(self) -> None:
        self._opened.close()

    def inside(self, namespaces: Namespaces) -> Namespace:
        """A container within the client, which forwards for it."""
        inner = namespaces.create(f"vip-{uuid.uuid4().hex[:8]}")
        self._ip(self.client, f"link add inner0 type veth peer name eth0 netns {inner.path}")
        for namespace, address, name in ((self.client, "10.7.0.1", "inner0"), (inner, "10.7.0.2", "eth0")):
            self._ip(namespace, f"address add dev {name} {address}/24")
            self._ip(namespace, f"link set {name} up")
        self._ip(inner, "route add default via 10.7.0.1")
        self._ip(self.servers, f"route add 10.7.0.0/24 via {CLIENT}")
        self.client.sysctl("net.ipv4.ip_forward", 1)
        return inner

    def open(self, namespace: Namespace, version: int, kind: int) -> socket.socket:
        made = self._opened.enter_context(namespace.socket(version, kind))
        made.settimeout(5)
        return made

    def listen(self, version: int = socket.AF_INET, *, at: Namespace | None = None) -> socket.socket:
        """On all addresses of the servers, or of another namespace."""
        made = self.open(at or self.servers, version, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("", PORT))
        made.listen(4096)
        return made

    def connect(self, listener: socket.socket, vip: str = VIP) -> tuple[socket.socket, socket.socket]:
        """One connection: the client's end and the server's, whose own name is the address that was chosen."""
        near = self.open(self.client, family(vip), socket.SOCK_STREAM)
        near.connect((vip, PORT))
        far = self._opened.enter_context(listener.accept()[0])
        far.settimeout(5)
        return near, far

    def spread(self, listener: socket.socket, count: int, vip: str = VIP) -> Counter[str]:
        """Who took how many of `count` connections, which are closed at once."""
        taken: Counter[str] = Counter()
        for _ in range(count):
            near, far = self.connect(listener, vip)
            taken[far.getsockname()[0]] += 1
            far.close()
            near.close()
        return taken

    def receive(self, addresses: Sequence[str]) -> UdpServers:
        return UdpServers(self, addresses)


class UdpServers:
    """A socket on each address; `ask` tells who got the question."""

    def __init__(self, link: Link, addresses: Sequence[str]) -> None:
        self._sockets: dict[socket.socket, str] = {}
        for address in addresses:
            made = link.open(link.servers, family(address), socket.SOCK_DGRAM)
            made.bind((address, PORT))
            self._sockets[made] = address

    def ask(self, client: socket.socket) -> str:
        """Send one datagram over a connected socket, have it answered, and say by whom."""
        client.send(b"question")
        ready, _, _ = select.select(list(self._sockets), [], [], 5)
        (server,) = ready
        question, asker = server.recvfrom(100)
        server.sendto(question, asker)
        assert client.recv(100) == b"question"
        return self._sockets[server]


class Connecting:
    """Connects without a pause in a thread until left; every failure is kept."""

    def __init__(self, link: Link, vip: str = VIP) -> None:
        self._link, self._vip = link, vip
        self._listener = link.listen(family(vip))
        self._end = Event()
        self.failures: list[str] = []
        self.made = 0
        self._threads = [Thread(target=self._accept), Thread(target=self._run)]

    def __enter__(self) -> Connecting:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for each in reversed(self._threads):
            each.join()

    def _accept(self) -> None:
        while not (self._end.is_set() and not self._threads[1].is_alive()):
            ready, _, _ = select.select([self._listener], [], [], 0.1)
            if ready:
                self._listener.accept()[0].close()

    def _run(self) -> None:
        while not self._end.is_set():
            with self._link.client.socket(family(self._vip), socket.SOCK_STREAM) as near:
                near.settimeout(10)
                # Closed with a reset, so that no port waits for the end of TIME_WAIT.
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                try:
                    near.connect((self._vip, PORT))
                    self.made += 1
                except OSError as error:
                    self.failures.append(str(error))
