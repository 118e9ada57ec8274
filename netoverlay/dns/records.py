"""The names of one network, derived from its endpoint table. Pure; made anew whenever the table changes."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable

from swarmcore.model.endpoint import EndpointMode, PortConfig
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint

# Packed addresses (4 or 16 bytes) in a stable order, without repetition.
Addresses = tuple[bytes, ...]

TASKS = b"tasks."


class Names:
    """What one network resolves. Names are lower-case bytes, as DNS compares them.

    `addresses` holds every name that the network knows; one whose service has no active endpoint is there with
    no address, so that nobody asks the outside for it. A service's name is never mixed with that of a container.
    """

    def __init__(self, table: NetworkTable) -> None:
        self.network = key(table.network.name)
        self.addresses: dict[bytes, Addresses] = {}
        self.ports: dict[bytes, tuple[PortConfig, ...]] = {}
        self.pointers: dict[bytes, bytes] = {}
        if table.network.ingress:
            return  # its addresses are nobody's business but the routing mesh's
        domain = b"." + table.network.name.encode()
        names: defaultdict[bytes, dict[bytes, None]] = defaultdict(dict)
        active: defaultdict[str, list[OverlayEndpoint]] = defaultdict(list)
        for endpoint in sorted(table.endpoints.values(), key=lambda each: each.id):
            if endpoint.active:
                active[endpoint.service_id].append(endpoint)
        for service in sorted(table.services.values(), key=lambda each: each.id):
            tasks = packed(address for each in active[service.id] for address in each.addresses)
            balanced = service.mode == EndpointMode.VIP and service.vips
            own = packed(service.vips) if balanced else tasks
            for alias in {key(name): None for name in (service.name, *service.aliases)}:
                names[alias].update(dict.fromkeys(own))
                names[TASKS + alias].update(dict.fromkeys(tasks))
                self.ports[alias] = self.ports.get(alias, ()) + service.ports
            for address in packed(service.vips):
                self.pointers[address] = service.name.encode() + domain
        services = set(names)
        for endpoints in active.values():
            for endpoint in endpoints:
                own = packed(endpoint.addresses)
                for alias in {key(name): None for name in (endpoint.name, *endpoint.aliases)}:
                    if alias not in services:
                        names[alias].update(dict.fromkeys(own))
                self.pointers.update(dict.fromkeys(own, endpoint.name.encode() + domain))
        names.pop(b"", None)
        self.addresses = {name: tuple(found) for name, found in names.items()}


def key(name: str) -> bytes:
    """How a name is looked up."""
    return name.encode().lower()


def pack(address: str) -> bytes:
    """4 or 16 bytes. ValueError if it is no address."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except OSError:
        raise ValueError(f"not an IP address: {address!r}") from None


def packed(addresses: Iterable[str]) -> Addresses:
    return tuple(pack(address) for address in addresses)
