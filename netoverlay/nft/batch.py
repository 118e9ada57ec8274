"""Changes of one table that the kernel makes together or not at all, encoded once for any number of namespaces."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netoverlay.netlink import wire
from netoverlay.netlink.wire import attribute, nested
from netoverlay.nft.expr import LOOKUP_SET, LOOKUP_SET_ID, Expression
from netoverlay.nft.table import Chain, NamedSet, Rule
from netoverlay.nft.types import VERDICT, AnonymousSet, Element, Type, Value, lists
from netoverlay.nft.wire import (
    BATCH_BEGIN,
    BATCH_END,
    LIST_ELEMENT,
    SUBSYSTEM,
    Call,
    ChainAttribute,
    ElementsAttribute,
    Family,
    RuleAttribute,
    SetAttribute,
    SetFlag,
    TableAttribute,
    header,
    number,
)

FIRST = 1 << 30  # sequence numbers of batches: those of dumps on the same socket count from 0
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
_KEY_ORDER, _VALUE_ORDER = 0, 1  # NFTNL_UDATA_SET_*BYTEORDER
_HOST_ORDER, _NETWORK_ORDER = 1, 2  # nftables: BYTEORDER_*


class Encoded(NamedTuple):
    """A whole batch. `what` says for each message what it does; `echoes` is how many rules come back with a handle."""

    data: bytes
    what: tuple[str, ...]
    echoes: int

    @property
    def last(self) -> int:
        """The sequence number of the message that is acknowledged."""
        return FIRST + len(self.what)


class Batch:
    """Collects changes of the table `table`. The order counts: what is referred to has to be there before."""

    def __init__(self, family: Family, table: str) -> None:
        self._table = table
        self._family = family
        self._messages: list[tuple[int, int, bytes]] = []
        self._what: list[str] = []
        self._anonymous = 0
        self._echoes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def _add(self, call: Call, flags: int, body: bytes, what: str) -> None:
        self._messages.append((call, flags, body))
        self._what.append(what)

    # -- table -----------------------------------------------------------------------------------------
    def make_table(self) -> None:
        """Does nothing where it is there."""
        self._add(Call.NEWTABLE, wire.CREATE, attribute(TableAttribute.NAME, self._table), "make table")

    def drop_table(self) -> None:
        """With all that is in it. Fails where it is not there."""
        self._add(Call.DELTABLE, 0, attribute(TableAttribute.NAME, self._table), "drop table")

    # -- chains ----------------------------------------------------------------------------------------
    def make_chain(self, name: str, chain: Chain) -> None:
        """The chain without its rules."""
        body = attribute(ChainAttribute.TABLE, self._table) + attribute(ChainAttribute.NAME, name)
        if (base := chain.base) is not None:
            body += nested(
                ChainAttribute.HOOK,
                number(ChainAttribute.HOOK_NUMBER, base.hook),
                number(ChainAttribute.HOOK_PRIORITY, base.priority),
            )
            body += attribute(ChainAttribute.TYPE, base.kind)
        self._add(Call.NEWCHAIN, wire.CREATE, body, f"make chain {name}")

    def drop_chain(self, name: str) -> None:
        """With its rules. Nothing may refer to it."""
        body = attribute(ChainAttribute.TABLE, self._table) + attribute(ChainAttribute.NAME, name)
        self._add(Call.DELCHAIN, 0, body, f"drop chain {name}")

    # -- rules -----------------------------------------------------------------------------------------
    def insert_rule(self, chain: str, rule: Rule) -> None:
        """At the head of the chain. Its handle comes back."""
        self._rule(chain, rule, 0, f"insert rule {rule.note!r} into {chain}")

    def append_rule(self, chain: str, rule: Rule) -> None:
        """At the end of the chain. Its handle comes back."""
        self._rule(chain, rule, wire.APPEND, f"append rule {rule.note!r} to {chain}")

    def _rule(self, chain: str, rule: Rule, flags: int, what: str) -> None:
        encoded = b"".join(nested(LIST_ELEMENT, self._expression(each)) for each in rule.expressions)
        comment = rule.comment.encode() + b"\0"
        body = (
            attribute(RuleAttribute.TABLE, self._table)
            + attribute(RuleAttribute.CHAIN, chain)
            + nested(RuleAttribute.EXPRESSIONS, encoded)
            + attribute(RuleAttribute.USERDATA, bytes([_COMMENT, len(comment)]) + comment)
        )
        self._echoes += 1
        self._add(Call.NEWRULE, wire.CREATE | wire.ECHO | flags, body, what)

    def _expression(self, expression: Expression) -> bytes:
        found = expression.attributes
        if expression.among is not None:
            name, identity = self._make_anonymous(expression.among)
            found = attribute(LOOKUP_SET, name) + number(LOOKUP_SET_ID, identity) + found
        return attribute(1, expression.name) + nested(2, found)  # NFTA_EXPR_NAME, NFTA_EXPR_DATA

    def drop_rule(self, chain: str, handle: int) -> None:
        body = (
            attribute(RuleAttribute.TABLE, self._table)
            + attribute(RuleAttribute.CHAIN, chain)
            + attribute(RuleAttribute.HANDLE, handle.to_bytes(8, "big"))
        )
        self._add(Call.DELRULE, 0, body, f"drop rule {handle} of {chain}")

    def flush_chain(self, name: str) -> None:
        """Drop all its rules."""
        body = attribute(RuleAttribute.TABLE, self._table) + attribute(RuleAttribute.CHAIN, name)
        self._add(Call.DELRULE, 0, body, f"flush chain {name}")

    # -- sets ------------------------------------------------------------------------------------------
    def _make_anonymous(self, members: AnonymousSet) -> tuple[str, int]:
        flags = SetFlag.ANONYMOUS | SetFlag.CONSTANT | (SetFlag.INTERVAL if members.interval else 0)
        name = "__set%d" if members.value is None else "__map%d"  # the kernel puts a number there
        size = nested(SetAttribute.DESCRIPTION, number(SetAttribute.SIZE, members.size))
        self._set(name, flags, members.key, members.value, size)
        for piece in members.pieces:
            self._elements(
                Call.NEWSETELEM, wire.CREATE, name, piece, number(ElementsAttribute.SET_ID, self._anonymous)
            )
        return name, self._anonymous

    def make_set(self, name: str, wanted: NamedSet) -> None:
        if not wanted.room:
            self._set(name, 0, wanted.key, wanted.value, b"")
            return
        size = nested(SetAttribute.DESCRIPTION, number(SetAttribute.SIZE, wanted.room))
        self._set(name, SetFlag.EVALUATED, wanted.key, wanted.value, size)

    def _set(self, name: str, flags: int, key: Type, value: Type | None, tail: bytes) -> None:
        self._anonymous += 1
        orders = _order(_KEY_ORDER, key)
        body = (
            attribute(SetAttribute.TABLE, self._table)
            + attribute(SetAttribute.NAME, name)
            + number(SetAttribute.FLAGS, flags | (SetFlag.MAP if value else 0))
            + number(SetAttribute.KEY_TYPE, key.number)
            + number(SetAttribute.KEY_LENGTH, key.length)
            + number(SetAttribute.ID, self._anonymous)
        )
        if value is not None:
            body += number(SetAttribute.DATA_TYPE, value.number) + number(
                SetAttribute.DATA_LENGTH, value.length
            )
            if value is not VERDICT:
                orders += _order(_VALUE_ORDER, value)
        body += attribute(SetAttribute.USERDATA, orders) + tail
        self._add(Call.NEWSET, wire.CREATE, body, f"make set {name}")

    def drop_set(self, name: str) -> None:
        body = attribute(SetAttribute.TABLE, self._table) + attribute(SetAttribute.NAME, name)
        self._add(Call.DELSET, 0, body, f"drop set {name}")

    def put_elements(self, name: str, elements: Mapping[bytes, Value]) -> None:
        """Add them. An element whose key is there with another value has to be dropped before."""
        for piece in lists(Element(key, value) for key, value in elements.items()):
            self._elements(Call.NEWSETELEM, wire.CREATE, name, piece, b"")

    def drop_elements(self, name: str, keys: Iterable[bytes]) -> None:
        for piece in lists(Element(key) for key in keys):
            self._elements(Call.DELSETELEM, 0, name, piece, b"")

    def _elements(self, call: Call, flags: int, name: str, piece: bytes, tail: bytes) -> None:
        body = (
            attribute(ElementsAttribute.TABLE, self._table)
            + attribute(ElementsAttribute.SET, name)
            + tail
            + nested(ElementsAttribute.LIST, piece)
        )
        verb = "put" if call is Call.NEWSETELEM else "drop"
        self._add(call, flags, body, f"{verb} elements of {name}")

    # -- bytes -----------------------------------------------------------------------------------------
    def encode(self) -> Encoded:
        """ValueError for an empty batch."""
        if not self._messages:
            raise ValueError("there is nothing to be changed")
        last = FIRST + len(self._messages)
        edge = header(Family.ANY, SUBSYSTEM >> 8)
        parts = [wire.message(BATCH_BEGIN, 0, FIRST, edge)]
        head = header(self._family)
        for sequence, (call, flags, body) in enumerate(self._messages, FIRST + 1):
            # With an echo of its first message, the kernel also tells the generation that a batch makes.
            flags |= wire.ECHO if sequence == FIRST + 1 else 0
            flags |= wire.ACK if sequence == last else 0
            parts.append(wire.message(SUBSYSTEM | call, flags, sequence, head + body))
        parts.append(wire.message(BATCH_END, 0, last + 1, edge))
        return Encoded(b"".join(parts), tuple(self._what), self._echoes)


def _order(kind: int, of: Type) -> bytes:
    """Only nft(8) reads it: how to print numbers."""
    return bytes([kind, 4]) + (_HOST_ORDER if of.host_order else _NETWORK_ORDER).to_bytes(4, sys.byteorder)
