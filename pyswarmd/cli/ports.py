"""Published ports as people type them, and as lists show them (docker/cli opts/swarmopts/port.go)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from pyswarmd.cli import units
from swarmcore.errors import Invalid
from swarmcore.text.patterns import ASCII, Pattern

Port = dict[str, Any]
_LONG = ("mode", "protocol", "published", "target")
_PROTOCOLS = ("tcp", "udp", "sctp")
_RANGE = Pattern(r"(\d{1,5})(?:-(\d{1,5}))?", 11, ASCII)
_HINT = "write it like 8080:80/tcp, 8000-8010:8000-8010 or published=8080,target=80,mode=host"


def parse(text: str) -> list[Port]:
    """The ports of `80`, `8080:80/udp`, `8000-8010:8000-8010` or `published=8080,target=80,mode=host`.

    Without a published port the swarm chooses one.
    """
    if "=" in text:
        long = dict(units.options(text, "port"))
        if unknown := sorted(set(long) - set(_LONG)):
            raise Invalid(f"port option {unknown[0]!r} is not known", f"known are {', '.join(_LONG)}")
        published, target = long.get("published", ""), long.get("target", "")
        protocol, mode = long.get("protocol", "tcp").lower(), long.get("mode", "ingress").lower()
    else:
        ports, slash, protocol = text.lower().partition("/")
        if ports.count(":") > 1:
            raise Invalid(
                f"invalid port {text!r}: a host's address cannot be chosen", "leave the address out"
            )
        published, _, target = ports.rpartition(":")
        protocol, mode = protocol if slash else "tcp", "ingress"
    if protocol not in _PROTOCOLS:
        raise Invalid(f"invalid protocol {protocol!r} of port {text!r}", f"use {', '.join(_PROTOCOLS)}")
    if mode not in ("ingress", "host"):
        raise Invalid(f"invalid mode {mode!r} of port {text!r}", "use ingress or host")
    targets = _range(target, text)
    hosts = _range(published, text) if published else [0] * len(targets)
    if len(targets) == 1:
        targets *= len(hosts)
    if len(targets) != len(hosts):
        raise Invalid(f"invalid port {text!r}: both ranges must have the same length", _HINT)
    return [
        {"Protocol": protocol, "TargetPort": inside, "PublishedPort": outside, "PublishMode": mode}
        for outside, inside in zip(hosts, targets, strict=True)
    ]


def _range(text: str, whole: str) -> list[int]:
    match = _RANGE.fullmatch(text)
    first = int(match[1]) if match else 0
    last = int(match[2] or first) if match else 0
    if not 0 < first <= last < 65536:
        raise Invalid(f"invalid port {whole!r}", _HINT)
    return list(range(first, last + 1))


def edited(old: Iterable[Port], added: Sequence[str], removed: Sequence[str]) -> list[Port]:
    """The ports without the removed ones (by target, and by what else was typed) and with the added ones."""
    gone = [(port, "=" in text) for text in removed for port in parse(text)]
    kept = [port for port in old if not any(_matches(port, one, long) for one, long in gone)]
    for port in (port for text in added for port in parse(text)):
        if not any(_same(port, other) for other in kept):
            kept.append(port)
    return kept


def _matches(port: Port, removed: Port, long: bool) -> bool:
    same = all(port.get(key) == removed[key] for key in ("TargetPort", "Protocol"))
    published = removed["PublishedPort"] in (0, port.get("PublishedPort", 0))
    return same and published and (not long or port.get("PublishMode", "ingress") == removed["PublishMode"])


def _same(one: Port, other: Port) -> bool:
    fields = ("Protocol", "TargetPort", "PublishedPort", "PublishMode")
    return all(one.get(field) == other.get(field) for field in fields)


# -- how they are shown ----------------------------------------------------------------------------
class _Run(Struct):
    """Consecutive ports, shown as one."""

    protocol: str
    outside: list[int]
    inside: list[int]

    def __str__(self) -> str:
        return f"*:{_span(self.outside)}->{_span(self.inside)}/{self.protocol}"


def _span(ports: Sequence[int]) -> str:
    return f"{ports[0]}-{ports[-1]}" if ports[-1] > ports[0] else str(ports[0])


def of_service(ports: Iterable[Port]) -> str:
    """`*:8080->80/tcp, *:9000-9010->9000-9010/udp`: what every node answers on."""
    published = [p for p in ports if p.get("PublishMode", "ingress") == "ingress" and p.get("PublishedPort")]
    runs: list[_Run] = []
    for port in sorted(published, key=lambda p: (p["Protocol"], p["PublishedPort"])):
        outside, inside = port["PublishedPort"], port["TargetPort"]
        last = runs[-1] if runs else None
        if (
            last is not None
            and last.protocol == port["Protocol"]
            and outside == last.outside[-1] + 1
            and inside == last.inside[-1] + 1
        ):
            last.outside.append(outside)
            last.inside.append(inside)
        else:
            runs.append(_Run(port["Protocol"], [outside], [inside]))
    return ", ".join(map(str, runs))


def of_task(ports: Iterable[Port]) -> str:
    """`*:8080->80/tcp,*:8443->443/tcp`: what the task's own node answers on."""
    return ",".join(
        f"*:{port['PublishedPort']}->{port['TargetPort']}/{port.get('Protocol', 'tcp')}" for port in ports
    )
