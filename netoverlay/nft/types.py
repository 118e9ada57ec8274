"""The types of keys and values in sets and maps (nftables: enum datatypes), and the elements made of them.

The kernel knows only lengths; the type numbers let `nft list ruleset` print what we wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from socket import AF_INET, AF_INET6, inet_pton
from typing import NamedTuple

from netoverlay.netlink.wire import attribute, nested, pack_mac
from netoverlay.nft.wire import LARGEST_LIST, LIST_ELEMENT, DataAttribute, ElementsAttribute, number

_BITS_PER_TYPE = 6  # nftables' TYPE_BITS: a concatenation's number is made of those of its parts
IFNAME_SIZE = 16
DIGEST = 8  # bytes


class Type(NamedTuple):
    """`host_order`: a number as the machine writes it, not as packets carry it."""

    number: int
    length: int
    host_order: bool = False

    @property
    def padded(self) -> int:
        return (self.length + 3) & ~3


IPV4 = Type(7, 4)
IPV6 = Type(8, 16)
ETHER = Type(9, 6)
PROTOCOL = Type(12, 1)
PORT = Type(13, 2)
MARK = Type(19, 4, True)
INTERFACE = Type(41, IFNAME_SIZE, True)
INTEGER = Type(4, 4, True)  # what numgen gives
ZONE = Type(4, 2, True)  # of connection tracking
VERDICT = Type(0xFFFFFF00, 16)  # NFT_DATA_VERDICT


def concatenation(*parts: Type) -> Type:
    """The type of keys or values of several fields, each padded to 32 bits."""
    number = 0
    for part in parts:
        number = number << _BITS_PER_TYPE | part.number
    return Type(number, sum(part.padded for part in parts))


class Verdict(NamedTuple):
    """What happens with a packet. Of jump and goto, `chain` is where it goes on."""

    code: int
    chain: str = ""


ACCEPT, DROP, RETURN = Verdict(1), Verdict(0), Verdict(-5)


def jump(chain: str) -> Verdict:
    return Verdict(-3, chain)


def goto(chain: str) -> Verdict:
    """Like jump, but without coming back."""
    return Verdict(-4, chain)


Value = bytes | Verdict | None  # None: an element of a set; maps have values


def ip(address: str) -> bytes:
    """4 or 16 bytes. OSError for what is no address."""
    return inet_pton(AF_INET6 if ":" in address else AF_INET, address)


def ether(mac: str) -> bytes:
    return pack_mac(mac)


def port(value: int) -> bytes:
    return value.to_bytes(2, "big")


def mark(value: int) -> bytes:
    """For marks and what else is a number of the machine."""
    return value.to_bytes(4, sys.byteorder)


def zone(value: int) -> bytes:
    return value.to_bytes(2, sys.byteorder)


def interface(name: str) -> bytes:
    """ValueError for a name that no interface can have."""
    packed = name.encode()
    if not 0 < len(packed) < IFNAME_SIZE:
        raise ValueError(f"{name!r} is not the name of an interface")
    return packed.ljust(IFNAME_SIZE, b"\0")


def key(*fields: bytes) -> bytes:
    """A concatenated key or value: each field padded to 32 bits."""
    return b"".join(field + bytes(-len(field) & 3) for field in fields)


def data(value: bytes | Verdict) -> bytes:
    """The inside of an attribute of nft_data."""
    if isinstance(value, bytes):
        return attribute(DataAttribute.VALUE, value)
    chain = attribute(DataAttribute.CHAIN, value.chain) if value.chain else b""
    return nested(DataAttribute.VERDICT, number(DataAttribute.CODE, value.code), chain)


class Element(NamedTuple):
    """`end`: not in the set, but the first key behind an interval of it."""

    key: bytes
    value: Value = None
    end: bool = False

    def encode(self) -> bytes:
        parts = nested(ElementsAttribute.KEY, attribute(DataAttribute.VALUE, self.key))
        if self.value is not None:
            parts += nested(ElementsAttribute.DATA, data(self.value))
        if self.end:
            parts += number(ElementsAttribute.FLAGS, ElementsAttribute.END)
        return nested(LIST_ELEMENT, parts)

    def canonical(self) -> bytes:
        value = self.value
        if isinstance(value, Verdict):
            value = b"%d %s" % (value.code, value.chain.encode())
        return b"%d %s %s" % (self.end, self.key.hex().encode(), (value or b"").hex().encode())


def lists(elements: Iterable[Element]) -> tuple[bytes, ...]:
    """Encoded, in pieces that an attribute can hold."""
    pieces: list[bytes] = []
    piece: list[bytes] = []
    size = 0
    for element in elements:
        encoded = element.encode()
        if size + len(encoded) > LARGEST_LIST:
            pieces.append(b"".join(piece))
            piece, size = [], 0
        piece.append(encoded)
        size += len(encoded)
    return (*pieces, b"".join(piece)) if piece else tuple(pieces)


def digest_of(elements: Iterable[Element]) -> bytes:
    """The same for the same elements in any order."""
    return blake2b(b"\n".join(sorted(e.canonical() for e in elements)), digest_size=DIGEST).digest()


class AnonymousSet(NamedTuple):
    """A set or map that lives in one rule and never changes. Kept encoded: a large one is sent to many namespaces."""

    key: Type
    value: Type | None
    interval: bool
    size: int
    pieces: tuple[bytes, ...]
    digest: bytes


def anonymous(key: Type, elements: Iterable[bytes]) -> AnonymousSet:
    members = [Element(each) for each in elements]
    return AnonymousSet(key, None, False, len(members), lists(members), digest_of(members))


def anonymous_map(key: Type, value: Type, elements: Mapping[bytes, bytes | Verdict]) -> AnonymousSet:
    members = [Element(each, found) for each, found in elements.items()]
    return AnonymousSet(key, value, False, len(members), lists(members), digest_of(members))


def interfaces(names: Sequence[str]) -> AnonymousSet:
    """Names of interfaces; `gv*` is each that starts with gv. ValueError where two of them overlap."""
    bounds: list[tuple[bytes, bytes]] = []
    for name in names:
        prefix = name.removesuffix("*")
        start = interface(prefix)
        last = int.from_bytes(prefix.encode() if name != prefix else start, "big") + 1
        width = len(prefix.encode()) if name != prefix else IFNAME_SIZE
        bounds.append((start, last.to_bytes(width, "big").ljust(IFNAME_SIZE, b"\0")))
    bounds.sort()
    if any(before[1] > after[0] for before, after in pairwise(bounds)):
        raise ValueError(f"overlapping names of interfaces: {', '.join(names)}")
    members = [Element(bytes(IFNAME_SIZE), end=True)]
    for start, behind in bounds:
        members += (Element(start), Element(behind, end=True))
    return AnonymousSet(INTERFACE, None, True, len(members), lists(members), digest_of(members))
