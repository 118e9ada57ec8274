"""Read and follow what containers wrote (`log_records.py` has the format)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from swarmcore.process.faults import passes
from worker.containers.log_records import BLOCK, LONGEST_LINE, Joiner, LogLine, parse, tail
from worker.runtime.inotify import IN_ATTRIB, IN_DELETE_SELF, IN_MODIFY, IN_MOVE_SELF, Inotify

_LOOK_AGAIN = 1.0  # seconds, where the host has no inotify watch left


class _Reader:
    """Complete lines of a growing file, across its replacement by conmon when it is too large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._lines = Joiner()

    def open(self, last: int | None) -> None:
        with suppress(FileNotFoundError):
            self._file = self._path.open("rb")
        if self._file is not None and last is not None:
            offset, older = tail(self._file, last)
            self._lines = Joiner(older)
            self._file.seek(offset)

    def read(self) -> Iterator[LogLine]:
        """What has come since; one block at most, nothing if there is nothing new."""
        if self._file is None:
            self.open(None)
        if self._file is None:
            return
        chunk = self._file.read(BLOCK)
        if not chunk and self._was_replaced():
            self.close()
            self.open(None)
            chunk = self._file.read(BLOCK) if self._file is not None else b""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > 2 * LONGEST_LINE:
            self._rest = b""  # no record is that long: whatever this is, it shall not fill our memory
        for raw in whole:
            if (record := parse(raw)) is not None and (line := self._lines.add(record)) is not None:
                yield line

    def rest(self) -> Iterator[LogLine]:
        """What never got its newline."""
        return self._lines.rest()

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


class _News:
    """Wakes who follows a log: when something is written, when the container has ended."""

    def __init__(self, path: Path, inotify: Inotify, ended: asyncio.Future[Any] | None) -> None:
        self._path, self._inotify, self._ended = path, inotify, ended
        self._come = asyncio.Event()
        self._stop: Callable[[], None] | None = None
        if ended is not None:
            ended.add_done_callback(self._woken)

    def _woken(self, _: object) -> None:
        self._come.set()

    def watch(self) -> None:
        """The file that is there now, which may be another one than before."""
        self._unwatch()
        try:
            self._stop = self._inotify.watch(
                self._path, IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB, self._woken
            )
        except FileNotFoundError:
            return
        except OSError as error:
            if not passes(error):  # ENOSPC: the user's watches are used up
                raise

    def _unwatch(self) -> None:
        if self._stop is not None:
            self._stop()
            self._stop = None

    def forget(self) -> None:
        """Whatever comes from here on is news."""
        self._come.clear()

    async def wait(self) -> None:
        """For news since `forget`; without a watch for as long as it is worth to look again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._stop is not None else _LOOK_AGAIN):
                await self._come.wait()

    def close(self) -> None:
        self._unwatch()
        if self._ended is not None:
            self._ended.remove_done_callback(self._woken)


async def read_log(
    path: Path,
    inotify: Inotify,
    ended: asyncio.Future[Any] | None,
    *,
    follow: bool = False,
    since: datetime | None = None,
    last: int | None = None,
) -> AsyncGenerator[LogLine, None]:
    """The lines of a container; with `follow` until it has ended (`ended` is done) and all was read.

    `last`: so many of what is there now (None: all), then what comes.
    """
    reader = _Reader(path)
    reader.open(last)
    news = _News(path, inotify, ended)
    try:
        if follow:
            news.watch()
        while True:
            news.forget()
            # Asked before reading: what comes after the end is then read in the next round.
            over = not follow or ended is None or ended.done()
            lines = list(reader.read())
            for line in _not_before(since, lines):
                yield line
            if not lines and reader.at_end():
                if over:
                    break
                news.watch()  # the file may be another one now
                if reader.at_end():
                    await news.wait()
            await asyncio.sleep(0)  # a long log must not hold up everything else
        for line in _not_before(since, reader.rest()):
            yield line
    finally:
        news.close()
        reader.close()


def _not_before(since: datetime | None, lines: Iterable[LogLine]) -> Iterator[LogLine]:
    return (line for line in lines if since is None or line.timestamp >= since)
