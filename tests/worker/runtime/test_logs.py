"""conmon's log format: parsing, tails across blocks, following a file that is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.runtime.inotify import Inotify
from worker.runtime.logs import LogLine, parse, read_log

STAMP = "2026-01-02T03:04:05.123456789+01:00"


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    made = Inotify()
    yield made
    made.close()


def entry(text: str, stream: str = "stdout", mark: str = "F", stamp: str = STAMP) -> str:
    return f"{stamp} {stream} {mark} {text}\n"


async def read(path: Path, inotify: Inotify, **options: object) -> list[bytes]:
    return [line.data async for line in read_log(path, inotify, None, **options)]  # type: ignore[arg-type]


def test_a_line_is_parsed_with_its_time_in_utc() -> None:
    assert parse(entry("a b ").rstrip("\n").encode()) == LogLine(
        timestamp=datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=UTC), stream="stdout", data=b"a b \n"
    )
    assert parse(f"{STAMP} stderr P half".encode()) == LogLine(
        timestamp=datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=UTC), stream="stderr", data=b"half"
    )
    empty = parse(f"{STAMP} stdout F ".encode())
    assert empty is not None
    assert empty.data == b"\n"


@pytest.mark.parametrize("raw", [b"", b"x", b"nonsense stdout F x", b"2026-01-01T00:00:00Z other F x"])
def test_what_is_no_log_line_is_skipped(raw: bytes) -> None:
    assert parse(raw) is None


@pytest.mark.parametrize("tail", [0, 1, 2, 5, 100, 3000, 5000])
async def test_the_tail_is_exact_whatever_the_size(tmp_path: Path, inotify: Inotify, tail: int) -> None:
    path = tmp_path / "log"
    path.write_text("".join(entry(f"{number} {'x' * (number % 200)}") for number in range(4000)))
    got = [int(data.split()[0]) for data in await read(path, inotify, tail=tail)]
    assert got == list(range(4000))[4000 - tail if tail < 4000 else 0 :]


async def test_parts_of_one_line_count_once_in_a_tail(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    path.write_text(
        entry("first") + entry("long", mark="P") + entry("er", mark="P") + entry(" line") + entry("last")
    )
    assert await read(path, inotify, tail=2) == [b"long", b"er", b" line\n", b"last\n"]


async def test_since_leaves_out_what_is_older(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    path.write_text(
        entry("old", stamp="2026-01-01T00:00:00.0Z") + entry("new", stamp="2026-01-01T00:00:02.0Z")
    )
    assert await read(path, inotify, since=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)) == [b"new\n"]


async def test_a_missing_log_is_empty(tmp_path: Path, inotify: Inotify) -> None:
    assert await read(tmp_path / "none", inotify) == []


async def test_following_sees_what_comes_and_survives_a_replaced_file(
    tmp_path: Path, inotify: Inotify
) -> None:
    path = tmp_path / "log"
    path.write_text(entry("one"))
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        async for line in read_log(path, inotify, ended, follow=True):
            seen.append(line.data)
            if line.data == b"one\n":
                with path.open("a") as file:
                    file.write(entry("two")[:-3])
                    file.flush()
                    file.write(entry("two")[-3:])
            elif line.data == b"two\n":
                fresh = tmp_path / "log.tmp"
                fresh.write_text(entry("three"))
                fresh.rename(path)
            else:
                ended.set_result(None)
    assert seen == [b"one\n", b"two\n", b"three\n"]
