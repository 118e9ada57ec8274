"""Placement constraints: `node.labels.disk==ssd`, parsed with clear errors, matched without side effects.

All constraints of a task must hold. Values compare without case, label keys with it; a missing
label is the empty string; a constraint on an unknown key never holds (as in Docker).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from swarmcore.errors import Invalid
from swarmcore.model.node import Node
from swarmcore.text.patterns import Pattern

_KEY = Pattern(r"[a-zA-Z_][a-zA-Z0-9\-_.]+", 256)
_VALUE = Pattern(r"[a-zA-Z0-9:\-_\s.*()?+\[\]\\^$|/]+", 4096)
NODE_LABEL = "node.labels."
ENGINE_LABEL = "engine.labels."


class Operator(StrEnum):
    EQUAL = "=="
    UNEQUAL = "!="


class Constraint(Struct, frozen=True):
    key: str
    operator: Operator
    value: str

    def __str__(self) -> str:
        return f"{self.key}{self.operator}{self.value}"


def parse(texts: Iterable[str]) -> tuple[Constraint, ...]:
    """The constraints in `texts`; Invalid names the first that cannot be read."""
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> Constraint:
    for operator in Operator:
        key, found, value = text.partition(operator)
        if not found:
            continue
        key, value = key.strip(), value.strip()
        if _KEY.fullmatch(key) is None:
            raise Invalid(f"invalid constraint {text!r}: the key {key!r} is not a name such as node.role")
        if _VALUE.fullmatch(value) is None:
            raise Invalid(f"invalid constraint {text!r}: the value {value!r} is empty or has odd characters")
        return Constraint(key, operator, value)
    raise Invalid(f"invalid constraint {text!r}: expected key==value or key!=value")


def match(constraints: Iterable[Constraint], node: Node) -> bool:
    """Whether all of them hold for this node."""
    return all(_holds(constraint, node) for constraint in constraints)


def _holds(constraint: Constraint, node: Node) -> bool:
    if constraint.key.lower() == "node.ip":
        return _address_holds(constraint, node.status.addr)
    facts = _facts(constraint.key, node)
    if facts is None:
        return False
    equal = facts.lower() == constraint.value.lower()
    return equal is (constraint.operator is Operator.EQUAL)


def _facts(key: str, node: Node) -> str | None:
    """What the node has under `key`; None when no node can have such a key."""
    lower = key.lower()
    description = node.description
    if lower.startswith(NODE_LABEL):
        return node.spec.labels.get(key[len(NODE_LABEL) :], "")
    if lower.startswith(ENGINE_LABEL):
        return description.engine.labels.get(key[len(ENGINE_LABEL) :], "") if description else ""
    match lower:
        case "node.id":
            return node.id
        case "node.role":
            return node.role
        case "node.hostname":
            return description.hostname if description else ""
        case "node.platform.os":
            return description.platform.os if description else ""
        case "node.platform.arch":
            return description.platform.architecture if description else ""
    return None


def _address_holds(constraint: Constraint, address: str) -> bool:
    """`node.ip` takes an address or a network in CIDR form; anything else never holds."""
    try:
        network = ipaddress.ip_network(constraint.value, strict=False)
        inside = ipaddress.ip_address(address) in network
    except ValueError:
        return False
    return inside is (constraint.operator is Operator.EQUAL)
