"""Read a tar archive from front to back, as strangers write it: V7, ustar, PAX, GNU and star, every number bounded.

Not the standard library's reader: that one takes whatever memory a header asks for, ends silently at a damaged header,
and spends quadratic time on some. Where formats differ, what Go's archive/tar (Docker, containerd) understands counts.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Protocol

from msgspec import Struct, field

from swarmcore.errors import Invalid, clipped

BLOCK = 512
_HEADER_LIMIT = 1 << 20  # bytes of one long name or one set of PAX records
_HEADERS_IN_A_ROW = 16
_PIECES_LIMIT = 1 << 17  # of one sparse file
_MAX = (1 << 63) - 1
_CHUNK = 1 << 18
_DECIMALS = 100  # of a time
_XATTR = "SCHILY.xattr."


class Kind(Enum):
    FILE = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


_KINDS = {kind.value: kind for kind in Kind} | {b"\0": Kind.FILE, b"7": Kind.FILE, b"S": Kind.FILE}


class Source(Protocol):
    """Where bytes come from; what is not seekable is read instead of skipped."""

    def read(self, size: int, /) -> bytes: ...

    def seekable(self) -> bool: ...

    def seek(self, offset: int, whence: int, /) -> int: ...


class Damaged(Invalid):
    """What is read is no tar archive, or not a whole one."""


class Member(Struct, kw_only=True):
    """What one entry says of itself; nothing of it is checked against the world."""

    name: str
    kind: Kind | None  # None: of no type that is known
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0  # of the file; less is stored if it is sparse
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    pieces: list[tuple[int, int]] | None = None  # of a sparse file: where stored bytes lie


class TarStream:
    """`next()` goes to the next member; `content()` yields the bytes of the current one with their offsets."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._seekable = source.seekable()
        self.position = 0  # bytes of the archive behind us
        self._left = 0  # stored bytes of the current member that nobody has read
        self._padding = 0
        self._member: Member | None = None

    # -- bytes ---------------------------------------------------------------------------------------
    def _read(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and (chunk := self._source.read(min(size, _CHUNK))):
            parts.append(chunk)
            self.position += len(chunk)
            size -= len(chunk)
        return b"".join(parts)

    def _whole(self, size: int) -> bytes:
        found = self._read(size)
        if len(found) != size:
            raise Damaged("the tar archive ends in the middle")
        return found

    def _skip(self, size: int) -> None:
        if self._seekable and size > BLOCK:
            self._source.seek(size - 1, io.SEEK_CUR)
            self.position += size - 1
            size = 1
        while size > 0:
            size -= len(self._whole(min(size, _CHUNK)))

    def content(self) -> Iterator[tuple[int, bytes]]:
        """The stored bytes of the current member, each chunk with its offset in the file."""
        assert self._member is not None
        pieces = self._member.pieces
        for offset, size in [(0, self._left)] if pieces is None else pieces:
            while size > 0:
                chunk = self._whole(min(size, _CHUNK))
                self._left -= len(chunk)
                yield offset, chunk
                offset += len(chunk)
                size -= len(chunk)

    # -- headers -------------------------------------------------------------------------------------
    def next(self) -> Member | None:
        """None at the end of the archive."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        records: dict[str, bytes] = {}
        spots: list[tuple[int, int]] = []
        long: dict[bytes, str] = {}
        for _ in range(_HEADERS_IN_A_ROW):
            block = self._read(BLOCK)
            if not block or block == bytes(BLOCK):
                if records or long:
                    raise Damaged("the tar archive ends after a header that belongs to a member")
                return None
            if len(block) != BLOCK:
                raise Damaged("the tar archive ends in the middle of a header")
            _check_sum(block)
            match flag := block[156:157]:
                case b"x" | b"X":
                    records, spots = _records(self._extra(block))
                case b"g":
                    self._extra(block)  # nobody else minds them, and a path for all members would be absurd
                case b"L" | b"K":
                    long[flag] = _text(self._extra(block).partition(b"\0")[0])
                case _:
                    return self._begin(block, records, spots, long)
        raise Damaged("the tar archive has too many headers for one member")

    def _extra(self, block: bytes) -> bytes:
        size = _number(block[124:136])
        if not 0 <= size <= _HEADER_LIMIT:
            raise Damaged(
                f"the tar archive has a header of {size} bytes, more than {_HEADER_LIMIT} are not read"
            )
        content = self._whole(size)
        self._whole(-size % BLOCK)
        return content

    def _begin(
        self,
        block: bytes,
        records: Mapping[str, bytes],
        spots: list[tuple[int, int]],
        long: Mapping[bytes, str],
    ) -> Member:
        member = _plain(block)
        flag = block[156:157]
        stored = _number(block[124:136])
        stored = _amend(member, records, stored)
        member.name = long.get(b"L", member.name)
        member.link = long.get(b"K", member.link)
        if flag == b"\0" and member.name.endswith("/"):
            member.kind = Kind.DIRECTORY  # as V7 wrote them
        if member.kind not in (Kind.FILE, None):
            stored = 0  # some write a size there, none writes content
        if not 0 <= stored <= _MAX:
            raise Damaged(f"the tar archive says {clipped(member.name)} has {stored} bytes")
        member.size, self._left, self._padding, self._member = stored, stored, -stored % BLOCK, member
        if member.kind is Kind.FILE:
            self._sparse(member, block, records, spots)
        return member

    # -- sparse files --------------------------------------------------------------------------------
    def _sparse(
        self, member: Member, block: bytes, records: Mapping[str, bytes], spots: list[tuple[int, int]]
    ) -> None:
        """GNU tar's four ways to say where the bytes of a file with holes lie."""
        if block[156:157] == b"S":
            pieces, size = self._old_map(block), _number(block[483:495])
        elif (records.get("GNU.sparse.major"), records.get("GNU.sparse.minor")) == (b"1", b"0"):
            size = _decimal(records.get("GNU.sparse.realsize", b""))
            pieces = self._map_in_content()
        elif "GNU.sparse.map" in records:
            numbers = [_decimal(each) for each in records["GNU.sparse.map"].split(b",")]
            pieces, size = _pairs(numbers), _decimal(records.get("GNU.sparse.size", b""))
        elif spots or "GNU.sparse.size" in records:
            pieces, size = spots, _decimal(records.get("GNU.sparse.size", b""))
        else:
            return
        end = 0
        for offset, length in pieces:
            if offset < end or length < 0 or offset + length > size:
                raise Damaged(f"the tar archive has a malformed sparse file {clipped(member.name)}")
            end = offset + length
        if sum(length for _, length in pieces) != self._left:
            raise Damaged(f"the tar archive has a malformed sparse file {clipped(member.name)}")
        member.pieces, member.size = pieces, size

    def _old_map(self, block: bytes) -> list[tuple[int, int]]:
        pieces: list[tuple[int, int]] = []
        area, entries, more = block[386:482], 4, block[482]
        while True:
            for start in range(0, entries * 24, 24):
                if area[start] == 0:
                    break
                pieces.append((_number(area[start : start + 12]), _number(area[start + 12 : start + 24])))
            if not more:
                return pieces
            if len(pieces) > _PIECES_LIMIT:
                raise Damaged("the tar archive has a sparse file of too many pieces")
            area, entries = self._whole(BLOCK), 21
            more = area[504]

    def _map_in_content(self) -> list[tuple[int, int]]:
        """A count, then offsets and lengths, one a line; padded to a block."""
        lines: list[bytes] = []
        rest, needed = b"", 1
        while len(lines) < needed:
            if self._left < BLOCK or len(lines) > 2 * _PIECES_LIMIT:
                raise Damaged("the tar archive has a malformed sparse file")
            self._left -= BLOCK
            *found, rest = (rest + self._whole(BLOCK)).split(b"\n")
            lines += found
            if lines:
                needed = 1 + 2 * _decimal(lines[0])
        return _pairs([_decimal(line) for line in lines[1:needed]])


# -- values in headers -----------------------------------------------------------------------------------
def _text(raw: bytes) -> str:
    return os.fsdecode(raw)


def _check_sum(block: bytes) -> None:
    wanted = _number(block[148:156])
    rest = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(rest)
    if wanted != unsigned and wanted != unsigned - 256 * sum(byte > 127 for byte in rest):
        raise Damaged("this is no valid tar archive: a header does not match its checksum")


def _number(raw: bytes) -> int:
    """Octal digits, or GNU's binary for what has no room so."""
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big") & ((1 << (8 * len(raw) - 1)) - 1)
        if raw[0] & 0x40:
            value -= 1 << (8 * len(raw) - 1)
    else:
        digits = raw.strip(b" \0").partition(b"\0")[0].strip(b" ")
        if not digits.isdigit() and digits:
            raise Damaged("this is no valid tar archive: a header has a malformed number")
        try:
            value = int(digits or b"0", 8)
        except ValueError:
            raise Damaged("this is no valid tar archive: a header has a malformed number") from None
    if not -_MAX <= value <= _MAX:
        raise Damaged("this is no valid tar archive: a header has a number beyond 64 bits")
    return value


def _decimal(raw: bytes) -> int:
    if not (1 <= len(raw) <= 19 and raw.isdigit()):
        raise Damaged(f"this is no valid tar archive: {raw[:20]!r} is no number")
    return int(raw)


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    if len(numbers) % 2 or len(numbers) > 2 * _PIECES_LIMIT:
        raise Damaged("the tar archive has a malformed sparse file")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _plain(block: bytes) -> Member:
    """The header block's own fields."""

    def field_of(start: int, end: int) -> str:
        return _text(block[start:end].partition(b"\0")[0])

    name = field_of(0, 100)
    magic = block[257:265]
    if magic[:6] == b"ustar\0":
        star = block[508:512] == b"tar\0"
        prefix = field_of(345, 476 if star else 500)
        name = f"{prefix}/{name}" if prefix else name
    known = magic[:5] == b"ustar"
    return Member(
        name=name,
        kind=_KINDS.get(block[156:157]),
        mode=_number(block[100:108]),
        uid=_number(block[108:116]),
        gid=_number(block[116:124]),
        mtime_ns=_number(block[136:148]) * 10**9,
        link=field_of(157, 257),
        major=_number(block[329:337]) if known else 0,
        minor=_number(block[337:345]) if known else 0,
    )


def _records(raw: bytes) -> tuple[dict[str, bytes], list[tuple[int, int]]]:
    """PAX records by key; those that GNU tar repeats, for the pieces of a sparse file, as pairs."""
    found: dict[str, bytes] = {}
    repeated: list[int] = []
    position = 0
    while position < len(raw):
        digits, blank, _ = raw[position : position + 8].partition(b" ")
        length = int(digits) if blank and digits.isdigit() else 0
        record = raw[position : position + length]
        key, sign, value = record[len(digits) + 1 : -1].partition(b"=")
        if len(record) != length or not sign or not key or record[-1:] != b"\n":
            raise Damaged("this is no valid tar archive: it has a malformed PAX record")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            repeated.append(_decimal(value))
        else:
            found[_text(key)] = value
        position += length
    return found, _pairs(repeated)


def _amend(member: Member, records: Mapping[str, bytes], stored: int) -> int:
    """What PAX records say counts more than the header; returns the size of the stored content."""
    for key, value in records.items():
        if key.startswith(_XATTR):
            member.xattrs[key.removeprefix(_XATTR)] = value
        elif not value:
            continue
        elif key in ("path", "GNU.sparse.name"):
            member.name = _text(value)
        elif key == "linkpath":
            member.link = _text(value)
        elif key == "size":
            stored = _decimal(value)
        elif key in ("uid", "gid"):
            setattr(member, key, _decimal(value))
        elif key == "mtime":
            member.mtime_ns = _nanoseconds(value)
    if "GNU.sparse.name" in records:
        member.name = _text(records["GNU.sparse.name"])
    return stored


def _nanoseconds(raw: bytes) -> int:
    """Seconds since the epoch, with a sign and any number of decimals."""
    whole, _, part = raw.removeprefix(b"-").partition(b".")
    if len(part) > _DECIMALS or (part and not part.isdigit()):
        raise Damaged(f"this is no valid tar archive: {raw[:20]!r} is no time")
    value = _decimal(whole) * 10**9 + int((part + b"0" * 9)[:9])
    return -value if raw.startswith(b"-") else value
