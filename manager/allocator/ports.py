"""Published ports of the routing mesh: a port of a protocol leads to one service, on every node.

Ports of mode host are their node's own: the allocator leaves them as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from msgspec.structs import replace

from manager.allocator.waiting import PORTS, Waits
from manager.store.tables import Reader
from swarmcore.model.base import Object
from swarmcore.model.endpoint import EndpointSpec, PortConfig, Protocol, PublishMode
from swarmcore.model.service import Service

log = logging.getLogger(__name__)
FIRST, LAST = 30000, 32767  # of those that we choose, as in Docker
Port = tuple[Protocol, int]
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def ingress_ports(ports: Iterable[PortConfig]) -> tuple[PortConfig, ...]:
    return tuple(port for port in ports if port.publish_mode is PublishMode.INGRESS)


def published(item: Object | None) -> tuple[Port, ...]:
    """The ports that are this service's."""
    if not isinstance(item, Service) or item.endpoint is None:
        return ()
    return tuple(
        (p.protocol, p.published_port) for p in ingress_ports(item.endpoint.ports) if p.published_port
    )


class Ports:
    """Who has which port. A port that was given up is chosen again only after all others."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._holders: dict[Port, str] = {}
        self._last: dict[Protocol, int] = {}
        for service in sorted(services, key=lambda s: s.created_at or _LONG_AGO):
            self.note_change(service.id, (), published(service))

    def note_change(self, holder: str, old: Iterable[Port], new: Iterable[Port]) -> bool:
        """What a service had and has; whether that made a port free."""
        before, after = set(old), set(new)
        for port in sorted(after - before):
            if self._holders.setdefault(port, holder) != holder:
                log.error("a port is published twice", extra={"port": port[1], "service": holder})
            if FIRST <= port[1] <= LAST:
                self._last[port[0]] = port[1]
        gone = [port for port in before - after if self._holders.get(port) == holder]
        for port in gone:
            del self._holders[port]
        return bool(gone)

    def choose(self, service: Service, services: Reader[Service]) -> tuple[PortConfig, ...]:
        """The service's ports with numbers: those asked for, those it had, else free ones. Raises Waits.

        Nothing is noted here before `note_change`.
        """
        spec = service.spec.endpoint_spec or EndpointSpec()
        mine = {(p.protocol, p.published_port) for p in ingress_ports(spec.ports) if p.published_port}
        for port in sorted(mine):
            if (holder := self._holders.get(port, service.id)) != service.id:
                raise Waits(PORTS, _taken(port, holder, services))
        had = list(ingress_ports(service.endpoint.ports)) if service.endpoint is not None else []
        found: list[PortConfig] = []
        for wanted in spec.ports:
            given = wanted
            if wanted.publish_mode is PublishMode.INGRESS and not wanted.published_port:
                number = self._kept(service.id, wanted, had, mine) or self._free(wanted.protocol, mine)
                mine.add((wanted.protocol, number))
                given = replace(wanted, published_port=number)
            found.append(given)
        return tuple(found)

    def _kept(self, service_id: str, wanted: PortConfig, had: list[PortConfig], mine: set[Port]) -> int:
        """The number that the same port had before; 0 if none."""
        for port in had:
            key = (port.protocol, port.published_port)
            same = replace(port, published_port=0) == wanted and FIRST <= port.published_port <= LAST
            if same and key not in mine and self._holders.get(key) == service_id:
                return port.published_port
        return 0

    def _free(self, protocol: Protocol, mine: set[Port]) -> int:
        last = max(
            (number for kind, number in mine if kind is protocol and FIRST <= number <= LAST), default=0
        )
        start = max(last, self._last.get(protocol, FIRST - 1)) + 1
        for step in range(LAST - FIRST + 1):
            number = FIRST + (start - FIRST + step) % (LAST - FIRST + 1)
            if (protocol, number) not in self._holders and (protocol, number) not in mine:
                return number
        raise Waits(PORTS, f"all {protocol} ports from {FIRST} to {LAST} are published")


def _taken(port: Port, holder: str, services: Reader[Service]) -> str:
    other = services.get(holder)
    name = other.spec.name if other is not None else holder
    return f"port {port[1]}/{port[0]} is already in use by service {name} as an ingress port"
