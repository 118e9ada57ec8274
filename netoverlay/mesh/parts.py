"""The table `pyswarm-mesh` of one host: the frame, and what differs from host to host, in parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from netoverlay.mesh.elements import (
    UNSERVED,
    node_elements,
    port_key,
    virtual_keys,
    way_elements,
)
from netoverlay.mesh.ports import Balanced, Port, Ports, Way
from netoverlay.mesh.rules import VERSIONS, frame
from netoverlay.nft import expr, match, types
from netoverlay.nft.table import Chain, Part, Rule, rule
from netoverlay.nft.types import INTEGER, Value
from netoverlay.nft.wire import Family


class MeshParts:
    """The table for one host, in parts; those that did not change are the same objects as before."""

    def __init__(self) -> None:
        self._balanced: dict[Port, tuple[Balanced, Part]] = {}
        self._last: dict[str, Part] = {}

    def __call__(self, ports: Ports, ways: Iterable[Way]) -> tuple[Part, ...]:
        made: dict[Port, tuple[Balanced, Part]] = {}
        for port, balanced in ports.balanced.items():
            known = self._balanced.get(port)
            same = known is not None and known[0] == balanced
            made[port] = known if known and same else (balanced, _spread(port, balanced))
        self._balanced = made
        ways = tuple(ways)
        return (
            frame(),
            self._same("own", Part(chains={"own": _own(ports.own), UNSERVED: _to_own(ports.own)})),
            self._same("nodes", Part(elements=node_elements(ports))),
            self._same("ways", Part(elements=way_elements(ways))),
            *(part for _, part in made.values()),
        )

    def _same(self, name: str, part: Part) -> Part:
        known = self._last.get(name)
        if known != part:
            known = self._last[name] = part
        return known


def _own(addresses: tuple[str, ...]) -> Chain:
    """Gives a connection this node's ingress address, or where it has none another of its addresses."""
    rules = [
        rule(
            match.family(Family.IPV6 if ":" in address else Family.IPV4),
            expr.immediate(types.ip(address)),
            expr.snat(Family.IPV6 if ":" in address else Family.IPV4),
            note="this node",
        )
        for address in addresses
    ]
    return Chain((*rules, rule(expr.masquerade(), note="this node")))


def _to_own(addresses: tuple[str, ...]) -> Chain:
    """Brings what nobody serves to this node itself, where its port is refused."""
    families = [Family.IPV6 if ":" in address else Family.IPV4 for address in addresses]
    return Chain(
        tuple(
            rule(match.family(family), expr.immediate(types.ip(address)), expr.dnat(family), note="this node")
            for family, address in zip(families, addresses, strict=True)
        )
    )


def _spread(port: Port, balanced: Balanced) -> Part:
    """One rule for each family that sends a new connection to one of the replicas, all with the same chance."""
    chain = f"{port.protocol}-{port.number}"
    rules: list[Rule] = []
    for (family, kind, _), targets in zip(VERSIONS, (balanced.targets4, balanced.targets6), strict=True):
        if not targets:
            continue
        words = kind.length // 4
        places = {types.mark(place): types.ip(target) for place, target in enumerate(targets)}
        rules.append(
            rule(
                match.family(family),
                expr.random(len(targets)),
                expr.mapped(types.anonymous_map(INTEGER, kind, places)),
                expr.immediate(types.port(balanced.target_port), words),
                expr.dnat(family, 0, words),
                note=balanced.service,
            )
        )
    elements: dict[str, dict[bytes, Value]] = {"balanced": {port_key(port): types.goto(chain)}}
    for _, _, version in VERSIONS:
        keys = virtual_keys(version, ((each, port) for each in balanced.virtual))
        elements[f"virtual{version}"] = dict.fromkeys(keys, types.goto(chain))
    return Part(chains={chain: Chain(tuple(rules))}, elements=elements)
