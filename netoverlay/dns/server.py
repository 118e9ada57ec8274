"""The name server of this host: one for all containers, with a pair of sockets in each one's namespace."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator, Mapping
from random import Random

from msgspec import Struct

from netoverlay.containers.sandboxes import SandboxSpec
from netoverlay.dns.answers import View
from netoverlay.dns.datagrams import Datagrams
from netoverlay.dns.exchange import Opens
from netoverlay.dns.forward import Forwarder, path_of
from netoverlay.dns.limits import Counters, Limits
from netoverlay.dns.records import Names, key, pack
from netoverlay.dns.resolv_conf import ADDRESS
from netoverlay.dns.resolver import Resolver
from netoverlay.dns.streams import Streams
from swarmcore.addresses import bare
from swarmcore.model.overlay import NetworkTable

# Not 53: a container's own name server could not bind 0.0.0.0:53 then. Rules within the container lead here. The
# same port each time if possible (below the ephemeral ones), so that a restarted daemon finds its rules right.
_PREFERRED_PORT = 15_353
_TRIES = 20
_BACKLOG = 128
_RECEIVE_BUFFER = 1 << 20


class _Container(Struct, kw_only=True):
    spec: SandboxSpec
    hostname: str
    port: int
    resolver: Resolver
    datagrams: Datagrams
    streams: Streams

    def close(self) -> None:
        self.datagrams.close()
        self.streams.close()


class DnsServer:
    """Everything here is called in the event loop's thread, and does not wait.

    `home` is where upstreams are asked that are to be asked from the host: the daemon's own namespace if not
    given, which is also the cheapest, as no namespace has to be entered for a socket.
    """

    def __init__(self, random: Random, limits: Limits | None = None, home: Opens | None = None) -> None:
        self._home = home
        self.counters = Counters()
        self._limits = limits or Limits()
        self._random = random
        self._forwarder: Forwarder | None = None
        self._containers: dict[str, _Container] = {}
        self._tables: Mapping[str, NetworkTable] = {}
        self._names: dict[str, Names] = {}

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._forwarder = Forwarder(self._limits, self.counters)

    def add(self, spec: SandboxSpec, namespace: Opens, hostname: str) -> int:
        """Serve the container; the port on 127.0.0.11 inside its namespace, UDP and TCP.

        Again with the same id: what it sees and how it forwards changes, its sockets stay. OSError when the
        namespace is gone or has no free port.
        """
        assert self._forwarder is not None, "open() comes first"
        view, path = self._view(spec, hostname), path_of(spec, namespace, self._home)
        if (known := self._containers.get(spec.id)) is not None:
            if (known.spec, known.hostname) != (spec, hostname):
                known.resolver.change(view, path, spec.resolving.ndots)
                known.spec, known.hostname = spec, hostname
            return known.port
        datagrams, streams, port = _listening(namespace)
        resolver = Resolver(
            view,
            path,
            self._forwarder,
            limits=self._limits,
            counters=self.counters,
            random=self._random,
            ndots=spec.resolving.ndots,
        )
        self._containers[spec.id] = _Container(
            spec=spec,
            hostname=hostname,
            port=port,
            resolver=resolver,
            datagrams=Datagrams(self._loop, datagrams, resolver),
            streams=Streams(self._loop, streams, resolver, self._limits),
        )
        return port

    def remove(self, sandbox_id: str) -> None:
        if (container := self._containers.pop(sandbox_id, None)) is not None:
            container.close()

    def follow(self, tables: Mapping[str, NetworkTable]) -> None:
        """From now on names are those of `tables`. Only containers on networks that changed notice."""
        before, self._tables = self._tables, dict(tables)
        changed = {
            network for network in {*before, *tables} if before.get(network) is not tables.get(network)
        }
        for network in changed:
            self._names.pop(network, None)
        for container in self._containers.values():
            if any(join.network_id in changed for join in container.spec.joins):
                container.resolver.forget()

    async def close(self) -> None:
        for sandbox_id in list(self._containers):
            self.remove(sandbox_id)
        if self._forwarder is not None:
            await self._forwarder.close()
            self._forwarder = None

    def __len__(self) -> int:
        """The containers that are served."""
        return len(self._containers)

    def _view(self, spec: SandboxSpec, hostname: str) -> View:
        own = tuple(pack(bare(address)) for join in spec.joins for address in join.addresses)
        networks = tuple(join.network_id for join in spec.joins)

        def names() -> list[Names]:
            return [known for network in networks if (known := self._names_of(network)) is not None]

        return View(names, key(hostname), own)

    def _names_of(self, network: str) -> Names | None:
        """Made when first asked for: of ten updates in a row only the last costs something."""
        if (names := self._names.get(network)) is None and (table := self._tables.get(network)) is not None:
            names = self._names[network] = Names(table)
        return names


def _listening(namespace: Opens) -> tuple[socket.socket, socket.socket, int]:
    """A UDP and a TCP socket on the same port."""
    for wanted in _ports():
        udp = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = namespace.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            udp.bind((ADDRESS, wanted))
            port: int = udp.getsockname()[1]
            # Connections of a daemon that was killed may still be in TIME_WAIT.
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((ADDRESS, port))
            tcp.listen(_BACKLOG)
        except OSError as error:
            udp.close()
            tcp.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        udp.setblocking(False)
        tcp.setblocking(False)
        return udp, tcp, port
    raise OSError(errno.EADDRINUSE, f"no port of {ADDRESS} is free for UDP and TCP")


def _ports() -> Iterator[int]:
    yield _PREFERRED_PORT
    for _ in range(_TRIES):
        yield 0  # the kernel's choice
