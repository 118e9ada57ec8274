"""The expressions rules are made of (linux/netfilter/nf_tables.h, NFTA_*): functions that give values. Sans-I/O.

What loads puts its value into the registers from `word` (32 bits each) on, 0 where one value is enough; what
compares, looks up or writes takes it from there. `netoverlay.nft.match` has the usual combinations.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

from netoverlay.netlink.wire import attribute, attributes, nested
from netoverlay.nft.types import DIGEST, AnonymousSet, Verdict, data
from netoverlay.nft.wire import DataAttribute, Family, number, signed, unpack_number

LOOKUP_SET, LOOKUP_TARGET, LOOKUP_SET_ID = 1, 3, 4  # NFTA_LOOKUP_*: SET, DREG, SET_ID
_NAT_FLAGS, _NAT_IMPLIED = 7, 3  # NFTA_NAT_FLAGS; NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED
_NAT_LAST = {4: 3, 6: 5}  # the end of a range of addresses or ports, and its start
_IMMEDIATE_DATA, _CMP_DATA = 2, 3
_REMEMBER_SET, _REMEMBER_HOW, _REMEMBER_KEY = 1, 3, 4  # NFTA_DYNSET_*: SET_NAME, OP, SREG_KEY
_ZEROES = (bytes(4), bytes(8))
_RANGE_FROM, _RANGE_TO, _MASK, _XOR = 3, 4, 4, 5


class Meta(IntEnum):
    """NFT_META_*"""

    PROTOCOL, MARK, IIFNAME, OIFNAME, IIFTYPE, NFPROTO, L4PROTO, SECPATH = 1, 3, 6, 7, 8, 15, 16, 25


class Ct(IntEnum):
    """NFT_CT_*"""

    STATE, DIRECTION, STATUS, MARK, ZONE = 0, 1, 2, 3, 17


class CtState(IntEnum):
    """NF_CT_STATE_*BIT; to be combined"""

    INVALID, ESTABLISHED, RELATED, NEW, UNTRACKED = 1, 2, 4, 8, 64


CT_ORIGINAL, CT_REPLY = 0, 1  # IP_CT_DIR_*
CT_SNAT, CT_DNAT = 1 << 4, 1 << 5  # IPS_SRC_NAT, IPS_DST_NAT


class Base(IntEnum):
    """NFT_PAYLOAD_*_HEADER"""

    LINK, NETWORK, TRANSPORT = 0, 1, 2


class Compare(IntEnum):
    """NFT_CMP_*"""

    EQUAL, DIFFERENT, LESS, AT_MOST, GREATER, AT_LEAST = 0, 1, 2, 3, 4, 5


class Expression(NamedTuple):
    """`attributes` are encoded. A lookup in an anonymous set has the set here, its name in no rule yet."""

    name: str
    attributes: bytes
    among: AnonymousSet | None = None

    def canonical(self) -> bytes:
        found = attributes(self.attributes)
        return canonical(self.name, found, self.among.digest if self.among else None)


def canonical(name: str, found: Mapping[int, bytes], among: bytes | None = None) -> bytes:
    """What an expression does, as bytes: the same for what we wrote and for what the kernel says it has.

    The kernel leaves out or adds what goes without saying, and counts. `among` is the digest of the anonymous set
    that a lookup uses.
    """
    if name == "counter":
        return b"counter"
    lookup, nat = name == "lookup", name == "nat"
    parts = [name.encode()]
    for kind in sorted(found):
        value = found[kind]
        if lookup and (kind == LOOKUP_SET_ID or (kind == LOOKUP_SET and among is not None)):
            continue
        if nat and (value == found.get(_NAT_LAST.get(kind, 0)) or kind == _NAT_FLAGS):
            if kind != _NAT_FLAGS:
                continue
            value = (unpack_number(value) & ~_NAT_IMPLIED).to_bytes(4, "big")
        if kind in _DATA.get(name, ()):
            value = _canonical_data(value)
        elif value in _ZEROES and not (lookup and kind == LOOKUP_TARGET):
            continue  # the verdict's register is number 0, and not the same as none
        parts.append(b"%d=%s" % (kind, value.hex().encode()))
    if among is not None:
        parts.append(b"among=" + among.hex().encode())
    return b" ".join(parts)


_DATA: Mapping[str, tuple[int, ...]] = {
    "immediate": (_IMMEDIATE_DATA,),
    "cmp": (_CMP_DATA,),
    "range": (_RANGE_FROM, _RANGE_TO),
    "bitwise": (_MASK, _XOR),
}


def _canonical_data(encoded: bytes) -> bytes:
    value = read_data(encoded)
    return value if isinstance(value, bytes) else b"verdict %d %s" % (value.code, value.chain.encode())


def read_data(encoded: bytes) -> bytes | Verdict:
    """The inverse of `types.data`."""
    found = attributes(encoded)
    if DataAttribute.VERDICT not in found:
        return found.get(DataAttribute.VALUE, b"")
    verdict = attributes(found[DataAttribute.VERDICT])
    code = signed(verdict[DataAttribute.CODE])
    return Verdict(code, verdict.get(DataAttribute.CHAIN, b"").rstrip(b"\0").decode())


def digest(canonicals: list[bytes]) -> bytes:
    """Of a rule's expressions in order."""
    return blake2b(b"\n".join(canonicals), digest_size=DIGEST).digest()


def register(word: int) -> int:
    """NFT_REG_1.. where it starts at one of the four large ones, as the kernel names them, else NFT_REG32_00.."""
    return 1 + word // 4 if word % 4 == 0 else 8 + word


# -- load ----------------------------------------------------------------------------------------------
def meta(what: Meta, word: int = 0) -> Expression:
    return Expression("meta", number(1, register(word)) + number(2, what))


def ct(what: Ct, word: int = 0) -> Expression:
    return Expression("ct", number(1, register(word)) + number(2, what))


def payload(base: Base, offset: int, length: int, word: int = 0) -> Expression:
    """`length` bytes of the packet."""
    return Expression(
        "payload", number(1, register(word)) + number(2, base) + number(3, offset) + number(4, length)
    )


def ip_source(word: int = 0) -> Expression:
    return payload(Base.NETWORK, 12, 4, word)


def ip_target(word: int = 0) -> Expression:
    return payload(Base.NETWORK, 16, 4, word)


def ip6_source(word: int = 0) -> Expression:
    return payload(Base.NETWORK, 8, 16, word)


def ip6_target(word: int = 0) -> Expression:
    return payload(Base.NETWORK, 24, 16, word)


def source_port(word: int = 0) -> Expression:
    return payload(Base.TRANSPORT, 0, 2, word)


def target_port(word: int = 0) -> Expression:
    return payload(Base.TRANSPORT, 2, 2, word)


def ether_source(word: int = 0) -> Expression:
    return payload(Base.LINK, 6, 6, word)


def source_type() -> Expression:
    """RTN_* of the source address (fib saddr type)."""
    return Expression("fib", number(1, register(0)) + number(2, 3) + number(3, 1))


def target_type() -> Expression:
    """RTN_* of the destination address (fib daddr type)."""
    return Expression("fib", number(1, register(0)) + number(2, 3) + number(3, 2))


def random(modulus: int, word: int = 0) -> Expression:
    """A random number below `modulus`."""
    return Expression("numgen", number(1, register(word)) + number(2, modulus) + number(3, 1))


def immediate(value: bytes, word: int = 0) -> Expression:
    return Expression("immediate", number(1, register(word)) + nested(2, data(value)))


# -- change and compare --------------------------------------------------------------------------------
def masked(mask: bytes, flip: bytes | None = None) -> Expression:
    """The value from word 0 on, with `mask` (and: the bits kept) and then `flip` (exclusive or)."""
    head = number(1, register(0)) + number(2, register(0)) + number(3, len(mask)) + number(6, 0)
    return Expression("bitwise", head + nested(4, data(mask)) + nested(5, data(flip or bytes(len(mask)))))


def compare(how: Compare, value: bytes) -> Expression:
    return Expression("cmp", number(1, register(0)) + number(2, how) + nested(3, data(value)))


def equals(value: bytes) -> Expression:
    return compare(Compare.EQUAL, value)


def differs(value: bytes) -> Expression:
    return compare(Compare.DIFFERENT, value)


def between(first: bytes, last: bytes, inside: bool = True) -> Expression:
    """Both bounds belong to the range."""
    head = number(1, register(0)) + number(2, 0 if inside else 1)
    return Expression("range", head + nested(3, data(first)) + nested(4, data(last)))


# -- look up -------------------------------------------------------------------------------------------
def _lookup(where: str | AnonymousSet, tail: bytes) -> Expression:
    if isinstance(where, str):
        return Expression("lookup", attribute(LOOKUP_SET, where) + tail)
    return Expression("lookup", tail, where)


def is_in(where: str | AnonymousSet, inverted: bool = False) -> Expression:
    """Goes on if the value from word 0 on is in the set; `inverted`: if it is not."""
    return _lookup(where, number(2, register(0)) + (number(5, 1) if inverted else b""))


def mapped(where: str | AnonymousSet, word: int = 0) -> Expression:
    """Replaces the value from word 0 on by what the map has for it, from `word` on; ends the rule where it has none."""
    return _lookup(where, number(2, register(0)) + number(LOOKUP_TARGET, register(word)))


def decided(where: str | AnonymousSet) -> Expression:
    """The verdict that the map has for the value from word 0 on (vmap)."""
    return _lookup(where, number(2, register(0)) + number(3, 0))


def remember(where: str) -> Expression:
    """Adds the value from word 0 on to a set that has room for what rules add; goes on if it is in there now."""
    head = attribute(_REMEMBER_SET, where) + number(_REMEMBER_HOW, 0) + number(_REMEMBER_KEY, register(0))
    return Expression("dynset", head)


# -- act -----------------------------------------------------------------------------------------------
def verdict(value: Verdict) -> Expression:
    return Expression("immediate", number(1, 0) + nested(2, data(value)))


def set_mark() -> Expression:
    """meta mark set, to the value in word 0."""
    return Expression("meta", number(2, Meta.MARK) + number(3, register(0)))


def set_ct_mark() -> Expression:
    return Expression("ct", number(2, Ct.MARK) + number(4, register(0)))


def set_ct_zone(direction: int | None = None) -> Expression:
    """The zone of connection tracking, 16 bits in word 0: of packets of one direction only, or of both."""
    tail = b"" if direction is None else attribute(3, bytes([direction]))
    return Expression("ct", number(2, Ct.ZONE) + tail + number(4, register(0)))


def _nat(kind: int, family: Family, address: int | None, port: int | None) -> Expression:
    parts = number(1, kind) + number(2, family)
    for first, word in ((3, address), (5, port)):
        if word is not None:
            parts += number(first, register(word)) + number(first + 1, register(word))
    return Expression("nat", parts)


def dnat(family: Family, address: int | None = 0, port: int | None = None) -> Expression:
    """Another destination: address and port are in these words; None leaves what is there."""
    return _nat(1, family, address, port)


def snat(family: Family, address: int | None = 0, port: int | None = None) -> Expression:
    """Another source, like `dnat`."""
    return _nat(0, family, address, port)


def masquerade() -> Expression:
    return Expression("masq", b"")


def reject_with_reset() -> Expression:
    """For TCP only: a rule that has not asked for TCP is refused by the kernel at the first packet of another kind."""
    return Expression("reject", number(1, 1))


def reject_as_unreachable() -> Expression:
    """ICMP or ICMPv6, whichever fits: port unreachable."""
    return Expression("reject", number(1, 2) + attribute(2, b"\x01"))


def counter() -> Expression:
    return Expression("counter", b"")
