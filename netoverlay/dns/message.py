"""DNS questions as bytes: read with care, and written again (RFC 1035, EDNS of RFC 6891).

By hand and not with a library: every question of every container passes here, and a general library takes ten
times as long to make objects of records that we only pass on. What is read here is one question and the headers
of records; contents of records are never taken apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from msgspec import Struct

# Types, RFC 1035, 3596, 2782, 6891.
A, SOA, PTR, AAAA, SRV, OPT = 1, 6, 12, 28, 33, 41
IN = 1

# Response codes, RFC 1035 and 6891 (BADVERS does not fit the header's four bits).
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16

# Bits of the header's second word.
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
OPCODE, RCODE = 0x7800, 0x000F

HEADER = struct.Struct("!HHHHHH")
_AFTER_ID = struct.Struct("!HHHHH")
_TYPE_CLASS = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")  # type, class, TTL, length of the contents

MIN_UDP = 512  # what every client takes, RFC 1035
MAX_UDP = 65_507
MAX_TCP = 65_535
# What we announce: an answer of this size is not fragmented on any usual path (DNS flag day 2020).
OUR_PAYLOAD = 1232

DO = 0x8000  # "DNSSEC OK", in the TTL of OPT
_MAX_NAME = 255
_TO_QUESTION = 0xC00C  # a compression pointer to offset 12, where the question's name is


class Malformed(ValueError):
    """Bytes that are no DNS message, or none that we take."""


class Ignored(Malformed):
    """Not worth an answer: too short to have an id, or itself an answer (two servers would play for ever)."""


class Refused(Malformed):
    """To be answered with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"response code {code}")
        self.code = code


class Query(Struct, frozen=True, kw_only=True):
    """One question. `question` are its bytes as asked: name in the client's case, type, class.

    `name` is the key of our tables: lower case, dotted, without the last dot. It is None where a label contains
    a dot itself, which no name of the swarm has. `repeats`: a client that asks the same again sends the same
    bytes again (no EDNS options, which may be different each time).
    """

    id: int
    flags: int
    question: bytes
    name: bytes | None
    type: int
    cls: int
    edns: bool = False
    version: int = 0
    payload: int = 0
    dnssec: bool = False
    repeats: bool = True

    def limit(self, stream: bool) -> int:
        """How long the answer may be, in bytes."""
        return MAX_TCP if stream else min(max(self.payload, MIN_UDP), MAX_UDP)


def read_name(message: bytes, offset: int) -> tuple[list[bytes], int]:
    """The labels of the name at `offset` and where the message goes on. Raises Malformed.

    A compression pointer must lead to before where the name (or the part that it continues) began: that is
    what RFC 1035 4.1.4 says ("a prior occurrence"), and it makes loops impossible.
    """
    labels: list[bytes] = []
    size, limit, end = 1, offset, -1
    try:
        while length := message[offset]:
            if length < 64:
                offset += 1
                label = message[offset : offset + length]
                size += length + 1
                if len(label) < length or size > _MAX_NAME:
                    raise Malformed("name is too long")
                labels.append(label)
                offset += length
            elif length >= 0xC0:
                target = (length & 0x3F) << 8 | message[offset + 1]
                if end < 0:
                    end = offset + 2
                if target >= limit or target < HEADER.size:
                    raise Malformed("compression pointer does not lead back")
                limit = offset = target
            else:
                raise Malformed("label of an unknown kind")
    except IndexError:
        raise Malformed("name runs over the end") from None
    return labels, end if end >= 0 else offset + 1


def read_record(message: bytes, offset: int) -> tuple[int, int, int, int, int]:
    """Type, class, TTL, where the contents begin and where the record ends. Raises Malformed."""
    _, offset = read_name(message, offset)
    begin = offset + _RECORD.size
    if begin > len(message):
        raise Malformed("record runs over the end")
    kind, cls, ttl, length = _RECORD.unpack_from(message, offset)
    if begin + length > len(message):
        raise Malformed("record runs over the end")
    return kind, cls, ttl, begin, begin + length


def read_query(message: bytes) -> Query:
    """Raises Ignored or Refused, and nothing else, whatever the bytes are."""
    if len(message) < HEADER.size:
        raise Ignored("shorter than a header")
    ident, flags, questions, answers, authorities, extras = HEADER.unpack_from(message)
    if flags & QR:
        raise Ignored("an answer, not a question")
    if flags & OPCODE:
        raise Refused(NOTIMP)
    if questions != 1 or answers or authorities:
        raise Refused(FORMERR)
    try:
        return _read_query(message, ident, flags, extras)
    except Malformed:
        raise Refused(FORMERR) from None


def _read_query(message: bytes, ident: int, flags: int, extras: int) -> Query:
    labels, end = read_name(message, HEADER.size)
    if len(message) < end + _TYPE_CLASS.size:
        raise Malformed("question runs over the end")
    kind, cls = _TYPE_CLASS.unpack_from(message, end)
    offset = end + _TYPE_CLASS.size
    question = message[HEADER.size : offset]
    edns, version, payload, dnssec, repeats = False, 0, 0, False, True
    for _ in range(extras):
        record, size, bits, begin, offset = read_record(message, offset)
        repeats = repeats and begin == offset
        if record == OPT:
            if edns:
                raise Malformed("two OPT records")
            edns, version, payload, dnssec = True, bits >> 16 & 0xFF, size, bool(bits & DO)
    return Query(
        id=ident,
        flags=flags,
        question=question,
        name=None if any(b"." in label for label in labels) else b".".join(labels).lower(),
        type=kind,
        cls=cls,
        edns=edns,
        version=version,
        payload=payload,
        dnssec=dnssec,
        repeats=repeats and offset == len(message),
    )


def refusal(message: bytes, code: int) -> bytes:
    """The answer to bytes (a whole header at least) whose question could not be read or is not repeated."""
    ident, flags = struct.unpack_from("!HH", message)
    return HEADER.pack(ident, QR | flags & (OPCODE | RD) | RA | code, 0, 0, 0, 0)


def encode_name(name: bytes) -> bytes:
    """A dotted name in wire form, without compression. ValueError where it cannot be one."""
    labels = name.split(b".") if name else []
    if not all(0 < len(label) < 64 for label in labels):
        raise ValueError(f"not a DNS name: {name!r}")
    wire = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(wire) > _MAX_NAME:
        raise ValueError(f"DNS name is too long: {name!r}")
    return wire


def record(kind: int, ttl: int, contents: bytes, owner: bytes | None = None) -> bytes:
    """A record of class IN. Its owner (wire form) is the question's name if none is given."""
    name = _TO_QUESTION.to_bytes(2, "big") if owner is None else owner
    return name + _RECORD.pack(kind, IN, ttl, len(contents)) + contents


def opt_record(query: Query, code: int = NOERROR) -> bytes:
    """Our side of EDNS: only for a client that began it, RFC 6891 7."""
    if not query.edns:
        return b""
    return b"\0" + _RECORD.pack(OPT, OUR_PAYLOAD, (code >> 4) << 24 | (DO if query.dnssec else 0), 0)


def answer_body(
    query: Query, code: int, answers: Iterable[bytes] = (), extras: Iterable[bytes] = (), *, limit: int
) -> bytes:
    """The whole answer but its first two bytes, the id.

    What exceeds `limit` is left out. Missing answers are said (TC: the client asks again over TCP), missing
    extras are not (RFC 2181 9).
    """
    opt = opt_record(query, code)
    room = limit - HEADER.size - len(query.question) - len(opt)
    flags = QR | RA | query.flags & (RD | CD) | code & RCODE
    chosen: list[bytes] = []
    for item in answers:
        room -= len(item)
        if room < 0:
            flags |= TC
            break
        chosen.append(item)
    added: list[bytes] = []
    if not flags & TC:
        for item in extras:
            room -= len(item)
            if room < 0:
                break
            added.append(item)
    counts = _AFTER_ID.pack(flags, 1, len(chosen), 0, len(added) + bool(opt))
    return b"".join((counts, query.question, *chosen, *added, opt))
