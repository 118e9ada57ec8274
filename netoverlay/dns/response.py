"""An upstream's answer: checked, kept as bytes, and given on with other ids, ages and lengths."""

from __future__ import annotations

import struct
from itertools import chain, repeat

from msgspec import Struct

from netoverlay.dns.message import (
    CD,
    HEADER,
    IN,
    NOERROR,
    NXDOMAIN,
    OPCODE,
    OPT,
    QR,
    RA,
    RCODE,
    RD,
    SOA,
    TC,
    Malformed,
    Query,
    opt_record,
    read_name,
    read_record,
)

_TTL = struct.Struct("!I")
# Of the fields between owner and contents (type, class, TTL, length), the TTL begins this far before the contents.
_TTL_BEFORE_CONTENTS = 6
_SOA_MIN = 22  # two names of at least one byte, and five numbers, the last of which is the negative TTL
_TOO_LONG = 1 << 31  # a TTL with this bit set counts as 0, RFC 2181 8


class Response(Struct, frozen=True, kw_only=True):
    """`message` without its OPT record and what follows that. `ends` are where its records end, in order.

    `lifetime` (seconds) is how long it may be kept: the shortest TTL of its records, and for a negative answer
    the zone's minimum (RFC 2308); 0 where it says none, and for failures.
    """

    message: bytes
    flags: int
    code: int
    question: bytes
    counts: tuple[int, int, int]
    ends: tuple[int, ...]
    ttls: tuple[int, ...]
    lifetime: int

    @property
    def truncated(self) -> bool:
        return bool(self.flags & TC)

    def body(self, query: Query, age: int, limit: int) -> bytes:
        """The answer to `query` but for the id, `age` seconds after it came, within `limit` bytes."""
        aged = bytearray(self.message)
        for offset in self.ttls:
            (ttl,) = _TTL.unpack_from(aged, offset)
            _TTL.pack_into(aged, offset, max(0, _sane(ttl) - age))
        aged[HEADER.size : HEADER.size + len(query.question)] = query.question  # in the client's case
        opt = opt_record(query)
        counts, end = self._fit(limit - len(opt))
        kept = sum(counts)
        flags = QR | RA | self.flags & ~(OPCODE | RD | CD | TC) | query.flags & (RD | CD)
        # Records that are left out are announced, unless they are only additional ones (RFC 2181 9).
        if self.truncated or kept < self.counts[0] + self.counts[1]:
            flags |= TC
        extras = counts[2] + bool(opt)
        struct.pack_into("!HHHHH", aged, 2, flags, 1, counts[0], counts[1], extras)
        return bytes(aged[2:end]) + opt

    def _fit(self, room: int) -> tuple[tuple[int, int, int], int]:
        if not self.ends or self.ends[-1] <= room:
            return self.counts, len(self.message)
        kept = sum(end <= room for end in self.ends)
        answers = min(kept, self.counts[0])
        authorities = min(kept - answers, self.counts[1])
        end = self.ends[kept - 1] if kept else HEADER.size + len(self.question)
        return (answers, authorities, kept - answers - authorities), end


def _sane(ttl: int) -> int:
    return 0 if ttl >= _TOO_LONG else ttl


def _read_head(message: bytes) -> tuple[int, list[int], int]:
    """The flags, how many records each section has, and where the first one is, behind the question."""
    if len(message) < HEADER.size:
        raise Malformed("shorter than a header")
    _, flags, questions, *sections = HEADER.unpack_from(message)
    if not flags & QR or flags & OPCODE or questions > 1:
        raise Malformed("not an answer to a question")
    offset = HEADER.size
    if questions:
        _, offset = read_name(message, offset)
        offset += 4
        if offset > len(message):
            raise Malformed("question runs over the end")
    return flags, sections, offset


def read_response(message: bytes) -> Response:
    """Raises Malformed, and nothing else, whatever the bytes are."""
    flags, sections, offset = _read_head(message)
    question = message[HEADER.size : offset]
    code = flags & RCODE
    counts, ends, ttls, lifetimes = [0, 0, 0], [], [], []
    zone_says: int | None = None
    for section in chain.from_iterable(repeat(place, amount) for place, amount in enumerate(sections)):
        kind, cls, ttl, begin, end = read_record(message, offset)
        if kind == OPT:
            code |= (ttl >> 24) << 4
            break  # what follows can only be a signature of the whole message, which no longer holds
        offset = end
        counts[section] += 1
        ends.append(end)
        ttls.append(begin - _TTL_BEFORE_CONTENTS)
        lifetimes.append(_sane(ttl))
        if section == 1 and kind == SOA and cls == IN and end - begin >= _SOA_MIN:
            (minimum,) = _TTL.unpack_from(message, end - _TTL.size)
            zone_says = _sane(minimum)
            lifetimes.append(zone_says)
    negative = code == NXDOMAIN or not counts[0]
    keep = code in (NOERROR, NXDOMAIN) and not flags & TC and not (negative and zone_says is None)
    return Response(
        message=message[:offset],
        flags=flags,
        code=code,
        question=question,
        counts=(counts[0], counts[1], counts[2]),
        ends=tuple(ends),
        ttls=tuple(ttls),
        lifetime=min(lifetimes) if keep else 0,
    )
