"""What the kernel has of one table, in the form of what we want: equal digests mean equal rules."""

from __future__ import annotations

import errno
from collections import defaultdict
from typing import NamedTuple

from netoverlay.netlink.wire import Message, NetlinkError, attribute, attributes, text
from netoverlay.nft import expr
from netoverlay.nft.socket import NftSocket, request
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, Rule
from netoverlay.nft.types import VERDICT, Element, Type, Value, digest_of
from netoverlay.nft.wire import (
    LIST_ELEMENT,
    Call,
    ChainAttribute,
    DataAttribute,
    ElementsAttribute,
    Family,
    RuleAttribute,
    SetAttribute,
    SetFlag,
    TableAttribute,
    body_attributes,
    family_of,
    items,
    signed,
    unpack_number,
)

FOREIGN = b""  # the digest of a rule that does not say what we wrote: equal to none
_TRIES = 8


class Found(NamedTuple):
    """A table as the kernel has it. `handles` are those of each chain's rules, in order."""

    part: Part
    handles: dict[str, list[int]]


class Snapshot(NamedTuple):
    """`found` None: there is no such table. All of one `generation`."""

    found: Found | None
    generation: int


def read(socket: NftSocket, family: Family, table: str) -> Snapshot:
    """NetlinkError EINTR where others change the namespace's tables all the time."""
    for _ in range(_TRIES):
        generation = socket.generation()
        try:
            found = _read(socket, family, table)
        except NetlinkError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):  # it went away while we looked
                raise
            continue
        if socket.generation() == generation:
            return Snapshot(found, generation)
    raise NetlinkError(errno.EINTR, "the tables change too fast to be read", f"read table {table}")


def _read(socket: NftSocket, family: Family, table: str) -> Found | None:
    if not _exists(socket, family, table):
        return None
    sets, digests, elements = _sets(socket, family, table)
    rules: dict[str, list[Rule]] = defaultdict(list)
    handles: dict[str, list[int]] = defaultdict(list)
    for message in _dump(socket, Call.GETRULE, family, table):
        found = body_attributes(message.body)
        chain = text(found[RuleAttribute.CHAIN])
        rules[chain].append(_rule(found, digests))
        handles[chain].append(int.from_bytes(found[RuleAttribute.HANDLE], "big"))
    chains: dict[str, Chain] = {}
    for message in _dump(socket, Call.GETCHAIN, family, table):
        found = body_attributes(message.body)
        name = text(found[ChainAttribute.NAME])
        chains[name] = Chain(tuple(rules[name]), _base(found))
        handles.setdefault(name, [])
    return Found(Part(chains=chains, sets=sets, elements=elements), dict(handles))


def _exists(socket: NftSocket, family: Family, table: str) -> bool:
    try:
        socket.ask(
            request(Call.GETTABLE, family, attribute(TableAttribute.NAME, table), f"read table {table}")
        )
    except NetlinkError as error:
        if error.errno != errno.ENOENT:
            raise
        return False
    return True


def _dump(socket: NftSocket, call: Call, family: Family, table: str) -> list[Message]:
    """All of the table. Every kind of object has its table's name in attribute 1; not all kernels filter by it."""
    name = attribute(1, table)
    answers = socket.dump(request(call, family, name, f"read table {table}"))
    return [
        each
        for each in answers
        if family_of(each.body) == family and text(body_attributes(each.body).get(1, b"")) == table
    ]


def _base(found: dict[int, bytes]) -> Base | None:
    hook = attributes(found.get(ChainAttribute.HOOK, b""))
    if not hook:
        return None
    # A policy of drop is none that we ever ask for: the kind says so, and compares as different.
    policy = unpack_number(found.get(ChainAttribute.POLICY, b"\x01"))
    return Base(
        kind=text(found[ChainAttribute.TYPE]) + ("" if policy == 1 else " policy drop"),
        hook=Hook(unpack_number(hook[ChainAttribute.HOOK_NUMBER])),
        priority=signed(hook[ChainAttribute.HOOK_PRIORITY]),
    )


def _rule(found: dict[int, bytes], digests: dict[str, bytes]) -> Rule:
    canonicals: list[bytes] = []
    for _, expression in items(found.get(RuleAttribute.EXPRESSIONS, b"")):
        parts = attributes(expression)
        name, inside = text(parts[1]), attributes(parts.get(2, b""))  # NFTA_EXPR_NAME, NFTA_EXPR_DATA
        among = digests.get(text(inside[expr.LOOKUP_SET])) if name == "lookup" else None
        canonicals.append(expr.canonical(name, inside, among))
    userdata = found.get(RuleAttribute.USERDATA, b"")
    comment = userdata[2:].rstrip(b"\0").decode(errors="replace")
    note, _, claimed = comment.rpartition(" ")
    digest = expr.digest(canonicals)
    return Rule((), note, digest if claimed == digest.hex() else FOREIGN)


def _sets(
    socket: NftSocket, family: Family, table: str
) -> tuple[dict[str, NamedSet], dict[str, bytes], dict[str, dict[bytes, Value]]]:
    """Named sets, digests of the anonymous ones, elements of the named ones."""
    sets: dict[str, NamedSet] = {}
    digests: dict[str, bytes] = {}
    elements: dict[str, dict[bytes, Value]] = {}
    for message in _dump(socket, Call.GETSET, family, table):
        found = body_attributes(message.body)
        name = text(found[SetAttribute.NAME])
        flags = unpack_number(found.get(SetAttribute.FLAGS, b""))
        if flags & SetFlag.EVALUATED:
            sets[name] = _declaration(found, flags)
            continue
        members = _elements(socket, family, table, name)
        if flags & SetFlag.ANONYMOUS:
            digests[name] = digest_of(members)
        else:
            sets[name] = _declaration(found, flags)
            elements[name] = {each.key: each.value for each in members}
    return sets, digests, elements


def _declaration(found: dict[int, bytes], flags: int) -> NamedSet:
    key = _type(found, SetAttribute.KEY_TYPE, SetAttribute.KEY_LENGTH)
    room = 0
    if flags & SetFlag.EVALUATED:
        described = attributes(found.get(SetAttribute.DESCRIPTION, b""))
        room = unpack_number(described.get(SetAttribute.SIZE, b""))
    if not flags & SetFlag.MAP:
        return NamedSet(key=key, room=room)
    value = _type(found, SetAttribute.DATA_TYPE, SetAttribute.DATA_LENGTH)
    return NamedSet(key=key, value=VERDICT if value.number == VERDICT.number else value, room=room)


def _type(found: dict[int, bytes], number: int, length: int) -> Type:
    return Type(unpack_number(found.get(number, b"")), unpack_number(found.get(length, b"")))


def _elements(socket: NftSocket, family: Family, table: str, name: str) -> list[Element]:
    body = attribute(ElementsAttribute.TABLE, table) + attribute(ElementsAttribute.SET, name)
    members: list[Element] = []
    for message in socket.dump(request(Call.GETSETELEM, family, body, f"read set {name}")):
        for kind, piece in items(body_attributes(message.body).get(ElementsAttribute.LIST, b"")):
            if kind == LIST_ELEMENT:
                members.append(_element(attributes(piece)))
    return members


def _element(found: dict[int, bytes]) -> Element:
    key = attributes(found[ElementsAttribute.KEY])[DataAttribute.VALUE]
    value = found.get(ElementsAttribute.DATA)
    flags = unpack_number(found.get(ElementsAttribute.FLAGS, b""))
    return Element(key, None if value is None else expr.read_data(value), bool(flags & ElementsAttribute.END))
