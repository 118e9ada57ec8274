"""What a table of ours shall hold, or holds, as values that compare: chains with rules, sets, elements, in parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import NamedTuple

from msgspec import Struct

from netoverlay.nft.expr import Expression, digest
from netoverlay.nft.types import Type, Value

_LONGEST_NOTE = 64  # of the 256 bytes that the kernel keeps with a rule; nft(8) shows 128


class Hook(IntEnum):
    """NF_INET_*: where a base chain sees packets."""

    PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = 0, 1, 2, 3, 4


class Rule(NamedTuple):
    """`digest` stands for what the rule does. A rule of the kernel's has no expressions here, but the same digest."""

    expressions: tuple[Expression, ...]
    note: str
    digest: bytes

    @property
    def comment(self) -> str:
        """What the kernel keeps with the rule and nft(8) shows: by it we know our own."""
        return f"{self.note} {self.digest.hex()}".lstrip()


def rule(*parts: Expression | Iterable[Expression], note: str = "") -> Rule:
    """A rule of expressions and of matches (tuples of expressions); `note` tells a reader what it is for."""
    expressions: list[Expression] = []
    for part in parts:
        if isinstance(part, Expression):
            expressions.append(part)
        else:
            expressions += part
    return Rule(tuple(expressions), note[:_LONGEST_NOTE], digest([each.canonical() for each in expressions]))


class Base(Struct, frozen=True, kw_only=True):
    """Makes a chain one that packets enter by themselves. `kind`: filter, nat or route. It accepts at its end."""

    kind: str
    hook: Hook
    priority: int


class Chain(NamedTuple):
    rules: tuple[Rule, ...] = ()
    base: Base | None = None


class NamedSet(Struct, frozen=True, kw_only=True):
    """A set; with a `value` a map, with VERDICT a verdict map. Its elements are said apart, as `Part.elements`.

    With `room` it is one that rules add to (`expr.remember`), at most so many elements: these are nobody's wish, so
    that no element of it is ever wanted, or found.
    """

    key: Type
    value: Type | None = None
    room: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """What the kernel knows of it: the same for equal sets."""
        value = (self.value.number, self.value.length) if self.value else ()
        return (self.key.number, self.key.length, *value, -self.room)


class Part(Struct, frozen=True, kw_only=True):
    """Some of a table's chains, sets and elements, by name. Parts that go together have no chain or key in common.

    Two parts are taken for equal if they are the same object, so keep those that did not change.
    """

    chains: Mapping[str, Chain] = {}
    sets: Mapping[str, NamedSet] = {}
    elements: Mapping[str, Mapping[bytes, Value]] = {}


def merged(parts: Iterable[Part]) -> Part:
    """One part with everything. Where parts disagree the last one says how it is."""
    chains: dict[str, Chain] = {}
    sets: dict[str, NamedSet] = {}
    elements: dict[str, dict[bytes, Value]] = {}
    for part in parts:
        chains.update(part.chains)
        sets.update(part.sets)
        for name, found in part.elements.items():
            elements.setdefault(name, {}).update(found)
    return Part(chains=chains, sets=sets, elements=elements)
