"""What agents answer in a network check, cut down to what they were asked. Pure.

An answer goes on to people, and what a party listens on goes on to all other parties: so that one party cannot fill
the messages of others, it says nothing about anything that is not of this check, and everything once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from typing import TypeVar

from msgspec.structs import replace

from swarmcore.rpc.messages.check import (
    CheckedNode,
    CheckedService,
    HostFacts,
    NameResult,
    PairResult,
    PeerReady,
    ProbeReport,
)

MAX_TEXT = 500  # characters of what is for people
MAX_NAME = 64  # characters of a device's name
MOST_RULES = 20
MOST_ANSWERS = 64  # addresses of one name
_MOST = 2**31 - 1
T = TypeVar("T")


def ready(given: PeerReady, party: CheckedNode) -> PeerReady:
    listening = _once(
        (one for one in given.listening if one.address in party.addresses and _is_port(one.tcp, one.udp)),
        lambda one: one.address,
    )
    return replace(given, listening=listening, problem=given.problem[:MAX_TEXT])


def report(
    given: ProbeReport,
    parties: Mapping[str, CheckedNode],
    names: Collection[str],
    services: Iterable[CheckedService],
) -> ProbeReport:
    asked = {(one.name, one.vip, one.port) for one in services}
    pairs = (p for p in given.pairs if p.node_id in parties and p.address in parties[p.node_id].addresses)
    return replace(
        given,
        pairs=_once(map(_pair, pairs), lambda one: (one.node_id, one.address)),
        paths=_once(
            (
                replace(path, mtu=_number(path.mtu), passed=_number(path.passed))
                for path in given.paths
                if path.node_id in parties
            ),
            lambda one: one.node_id,
        ),
        names=_once((_name(one) for one in given.names if one.name in names), lambda one: one.name),
        services=_once(
            (one for one in given.services if (one.name, one.vip, one.port) in asked),
            lambda one: (one.name, one.vip, one.port),
        ),
        heard=_once((node_id for node_id in given.heard if node_id in parties), lambda node_id: node_id),
        repairs=_number(given.repairs),
        facts=_facts(given.facts),
    )


def _once(items: Iterable[T], key: Callable[[T], Hashable]) -> tuple[T, ...]:
    """The first of each key."""
    found: dict[Hashable, T] = {}
    for item in items:
        found.setdefault(key(item), item)
    return tuple(found.values())


def _number(given: int) -> int:
    return min(max(given, 0), _MOST)


def _is_port(*numbers: int) -> bool:
    return all(0 < number < 1 << 16 for number in numbers)


def _pair(given: PairResult) -> PairResult:
    return replace(given, mtu=_number(given.mtu))


def _name(given: NameResult) -> NameResult:
    return replace(given, addresses=tuple(text[:MAX_NAME] for text in given.addresses[:MOST_ANSWERS]))


def _facts(given: HostFacts) -> HostFacts:
    return replace(
        given,
        device=given.device[:MAX_NAME],
        device_mtu=_number(given.device_mtu),
        mtu=_number(given.mtu),
        drops=tuple(text[:MAX_TEXT] for text in given.drops[:MOST_RULES]),
        guard=given.guard[:MAX_TEXT],
    )
