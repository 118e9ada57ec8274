"""Read and follow what containers wrote: conmon's k8s-file format, `time stream F|P content` a line."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from msgspec import Struct

from worker.runtime.inotify import IN_ATTRIB, IN_DELETE_SELF, IN_MODIFY, IN_MOVE_SELF, Inotify

_BLOCK = 1 << 16


class LogLine(Struct, frozen=True, kw_only=True):
    """`data` ends with a newline, but for output that has none (yet): a prompt, a very long line's parts."""

    timestamp: datetime
    stream: str
    data: bytes


def parse(raw: bytes) -> LogLine | None:
    """One line of the file without its newline; None if it is not one (the disk was full)."""
    stamp, _, rest = raw.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    mark, separator, content = rest.partition(b" ")
    if not separator or mark not in (b"F", b"P") or stream not in (b"stdout", b"stderr"):
        return None
    try:
        # conmon writes nanoseconds; datetime keeps six digits of them.
        timestamp = datetime.fromisoformat(stamp.decode("ascii")).astimezone(UTC)
    except ValueError:
        return None
    return LogLine(
        timestamp=timestamp, stream=stream.decode(), data=content + (b"\n" if mark == b"F" else b"")
    )


def _tail_offset(file: BinaryIO, lines: int) -> int:
    """Where the last `lines` of output begin; parts of one long line count once."""
    end = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end
    position, rest = end, b""
    found = 0
    first = end
    while position > 0:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        block = file.read(step) + rest
        start = 0 if position == 0 else block.find(b"\n") + 1
        if start == 0 and position > 0:
            rest = block
            continue
        offset = position + len(block)
        for raw in reversed(block[start:].splitlines(keepends=True)):
            offset -= len(raw)
            if _is_full(raw):
                if found == lines:
                    return first
                found += 1
            first = offset
        rest = block[:start]
    return first


def _is_full(raw: bytes) -> bool:
    return raw.split(b" ", 3)[2:3] == [b"F"]


class _Reader:
    """Complete lines of a growing file, across its replacement by conmon when it is too large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def open(self, tail: int | None) -> None:
        with suppress(FileNotFoundError):
            self._file = self._path.open("rb")
        if self._file is not None and tail is not None:
            self._file.seek(_tail_offset(self._file, tail))

    def read(self) -> Iterator[LogLine]:
        """What has come since; one block at most, nothing if there is nothing new."""
        if self._file is None:
            self.open(None)
        if self._file is None:
            return
        chunk = self._file.read(_BLOCK)
        if not chunk and self._was_replaced():
            self.close()
            self.open(None)
            chunk = self._file.read(_BLOCK) if self._file is not None else b""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for raw in whole:
            if (line := parse(raw)) is not None:
                yield line

    def _was_replaced(self) -> bool:
        assert self._file is not None
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def at_end(self) -> bool:
        return self._file is None or self._file.tell() >= os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._rest = b""


async def read_log(
    path: Path,
    inotify: Inotify,
    ended: asyncio.Future[Any] | None,
    *,
    follow: bool = False,
    since: datetime | None = None,
    tail: int | None = None,
) -> AsyncGenerator[LogLine, None]:
    """The lines of a container; with `follow` until it has ended (`ended` is done) and all was read."""
    reader = _Reader(path)
    news = asyncio.Event()
    stops: list[Callable[[], None]] = []

    def woken(_: object) -> None:
        news.set()

    def watch() -> None:
        while stops:
            stops.pop()()
        with suppress(FileNotFoundError):
            stops.append(inotify.watch(path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB, woken))

    reader.open(tail)
    if ended is not None:
        ended.add_done_callback(woken)
    if follow:
        watch()
    try:
        while True:
            news.clear()
            # Asked before reading: what comes after the end is then read in the next round.
            over = not follow or ended is None or ended.done()
            lines = list(reader.read())
            for line in lines:
                if since is None or line.timestamp >= since:
                    yield line
            if not lines and reader.at_end():
                if over:
                    return
                watch()  # the file may be another one now
                if reader.at_end():
                    await news.wait()
            await asyncio.sleep(0)  # a long log must not hold up everything else
    finally:
        if ended is not None:
            ended.remove_done_callback(woken)
        for stop in stops:
            stop()
        reader.close()
