"""Tables of a small shop, and questions about it."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from netoverlay.dns.message import Query, read_query
from swarmcore.model.endpoint import EndpointMode, PortConfig, Protocol
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNetwork, OverlayService


def endpoint(number: int, service: str = "api", **fields: object) -> OverlayEndpoint:
    values: dict[str, object] = {
        "id": f"{service}-task{number}",
        "node_id": "node1",
        "name": f"{service}.{number}.{service}-task{number}",
        "service_id": f"{service}-id",
        "aliases": (f"host{number}",),
        "addresses": (f"10.5.0.{number}",),
        "active": True,
    }
    return OverlayEndpoint(**{**values, **fields})  # type: ignore[arg-type]


def table(
    *endpoints: OverlayEndpoint,
    services: tuple[OverlayService, ...] = (),
    name: str = "shop",
    ingress: bool = False,
) -> NetworkTable:
    return NetworkTable(
        network=OverlayNetwork(id=f"{name}-id", name=name, ingress=ingress),
        services={service.id: service for service in services},
        endpoints={each.id: each for each in endpoints},
    )


API = OverlayService(
    id="api-id",
    name="api",
    aliases=("backend",),
    vips=("10.5.0.200",),
    ports=(
        PortConfig(name="web", target_port=8000, published_port=80),
        PortConfig(protocol=Protocol.UDP, target_port=53, published_port=5300),
    ),
)
DB = OverlayService(id="db-id", name="db", mode=EndpointMode.DNSRR)

SHOP = table(
    endpoint(1),
    endpoint(2),
    endpoint(3, active=False),
    endpoint(11, "db", addresses=("10.5.0.11", "fd00::11")),
    endpoint(12, "db", addresses=("10.5.0.12", "fd00::12")),
    services=(API, DB),
)


def wire(name: str, kind: str = "A", **options: object) -> bytes:
    return dns.message.make_query(name, kind, **options).to_wire()  # type: ignore[arg-type]


def query(name: str, kind: str = "A", **options: object) -> Query:
    return read_query(wire(name, kind, **options))


def parsed(message: bytes) -> dns.message.Message:
    return dns.message.from_wire(message)


def told(message: bytes) -> list[str]:
    """The contents of the answer's records, sorted."""
    return sorted(item.to_text() for rrset in parsed(message).answer for item in rrset)


def upstream_answer(
    question: bytes, *records: str, code: str = "NOERROR", authority: tuple[str, ...] = ()
) -> bytes:
    """What an upstream says to `question`; records as lines of a zone file."""
    message = dns.message.make_response(dns.message.from_wire(question), recursion_available=True)
    message.set_rcode(dns.rcode.from_text(code))
    for section, lines in ((message.answer, records), (message.authority, authority)):
        for line in lines:
            owner, ttl, kind, contents = line.split(maxsplit=3)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, contents))
    return message.to_wire(max_size=65_535)
