"""conmon's k8s-file format, `time stream F|P content` a record: records, lines of them, a file's last lines.

conmon writes a record for whatever one read of the container's output gave, 8 KiB at most: P where no newline came
with it. The records of one line lie between those of the other stream. A line is what ends with F.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO

from msgspec import Struct

BLOCK = 1 << 16
#: A longer line comes in parts of about this size, all but the last without a newline.
LONGEST_LINE = 1 << 20


class LogLine(Struct, frozen=True, kw_only=True):
    """`data` ends with a newline, but for the parts of a very long line. The time is that of the end."""

    timestamp: datetime
    stream: str
    data: bytes


class Record(Struct, frozen=True, kw_only=True):
    """`full`: a newline followed, which `data` does not have."""

    timestamp: datetime
    stream: str
    data: bytes
    full: bool


def parse(raw: bytes) -> Record | None:
    """One record of the file without its newline; None if it is not one (the disk was full)."""
    stamp, _, rest = raw.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    mark, separator, content = rest.partition(b" ")
    if not separator or mark not in (b"F", b"P") or stream not in (b"stdout", b"stderr"):
        return None
    try:
        # conmon writes nanoseconds; datetime keeps six digits of them.
        timestamp = datetime.fromisoformat(stamp.decode("ascii")).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return Record(timestamp=timestamp, stream=stream.decode(), data=content, full=mark == b"F")


class Joiner:
    """Lines of records, for each stream by itself. `skip`: so many lines are left out at first."""

    def __init__(self, skip: int = 0, longest: int = LONGEST_LINE) -> None:
        self._skip, self._longest = skip, longest
        self._parts: dict[str, list[bytes]] = {}
        self._sizes: dict[str, int] = {}
        self._last: dict[str, datetime] = {}

    def add(self, record: Record) -> LogLine | None:
        """The line that the record ends, or a part of it if it has become very long."""
        parts = self._parts.get(record.stream)
        if record.full and parts is None:
            return self._told(record, record.data + b"\n", ends=True)
        if parts is None:
            parts = self._parts[record.stream] = []
            self._sizes[record.stream] = 0
        parts.append(record.data)
        self._sizes[record.stream] += len(record.data)
        self._last[record.stream] = record.timestamp
        if not record.full and self._sizes[record.stream] < self._longest:
            return None
        del self._parts[record.stream]
        return self._told(record, b"".join(parts) + (b"\n" if record.full else b""), ends=record.full)

    def _told(self, record: Record, data: bytes, *, ends: bool) -> LogLine | None:
        if self._skip:
            self._skip -= ends
            return None
        return LogLine(timestamp=record.timestamp, stream=record.stream, data=data)

    def rest(self) -> Iterator[LogLine]:
        """What has no end, as lines: nothing more will come."""
        for stream, parts in sorted(self._parts.items(), key=lambda item: self._last[item[0]]):
            yield LogLine(timestamp=self._last[stream], stream=stream, data=b"".join(parts) + b"\n")
        self._parts.clear()


def records_backwards(file: BinaryIO, block: int = BLOCK) -> Iterator[tuple[int, Record]]:
    """The records of the file from its end, each with its offset."""
    position, rest = file.seek(0, os.SEEK_END), b""
    while position > 0:
        step = min(block, position)
        position -= step
        file.seek(position)
        found = file.read(step) + rest
        # What precedes the first newline began in an earlier block, unless this is the first one.
        start = found.find(b"\n") + 1 if position > 0 else 0
        if start == 0 and position > 0:
            rest = found
            continue
        offset = position + len(found)
        for raw in reversed(found[start:].split(b"\n")):
            offset -= len(raw)
            if (record := parse(raw)) is not None:
                yield offset, record
            offset -= 1
        rest = found[:start]


def tail(file: BinaryIO, lines: int, block: int = BLOCK) -> tuple[int, int]:
    """Where to begin for the last `lines` lines to be whole, and how many lines that end from there on are older.

    What has no end yet counts as a line of its own.
    """
    first = file.seek(0, os.SEEK_END)
    found = older = between = 0
    begun: set[str] = set()  # streams whose line counts, while we look for where it begins
    known: set[str] = set()
    for offset, record in records_backwards(file, block):
        stream = record.stream
        if record.full:
            begun.discard(stream)  # the end of the line before
        if record.full or stream not in known:
            if found < lines:
                found += 1
                begun.add(stream)
            elif not begun:
                break
            elif record.full:
                between += 1
        known.add(stream)
        if stream in begun:
            first, older, between = offset, older + between, 0
    return first, older
