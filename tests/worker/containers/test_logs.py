"""conmon's log format: parsing, tails across blocks, following a file that is replaced."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.containers.log_records import LONGEST_LINE, Joiner, Record, parse, tail
from worker.containers.logs import read_log
from worker.runtime.inotify import Callback, Inotify

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


def test_a_record_is_parsed_with_its_time_in_utc() -> None:
    moment = datetime(2026, 1, 2, 2, 4, 5, 123456, tzinfo=UTC)
    assert parse(entry("a b ").rstrip("\n").encode()) == Record(
        timestamp=moment, stream="stdout", data=b"a b ", full=True
    )
    assert parse(f"{STAMP} stderr P half".encode()) == Record(
        timestamp=moment, stream="stderr", data=b"half", full=False
    )
    empty = parse(f"{STAMP} stdout F ".encode())
    assert empty is not None
    assert (empty.data, empty.full) == (b"", True)


@pytest.mark.parametrize("raw", [b"", b"x", b"nonsense stdout F x", b"2026-01-01T00:00:00Z other F x"])
def test_what_is_no_log_line_is_skipped(raw: bytes) -> None:
    assert parse(raw) is None


@pytest.mark.parametrize("tail", [0, 1, 2, 5, 100, 3000, 5000])
async def test_the_tail_is_exact_whatever_the_size(tmp_path: Path, inotify: Inotify, tail: int) -> None:
    path = tmp_path / "log"
    path.write_text("".join(entry(f"{number} {'x' * (number % 200)}") for number in range(4000)))
    got = [int(data.split()[0]) for data in await read(path, inotify, last=tail)]
    assert got == list(range(4000))[4000 - tail if tail < 4000 else 0 :]


async def test_parts_of_one_line_count_once_in_a_tail(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    path.write_text(
        entry("first") + entry("long", mark="P") + entry("er", mark="P") + entry(" line") + entry("last")
    )
    assert await read(path, inotify, last=2) == [b"longer line\n", b"last\n"]
    assert await read(path, inotify, last=1) == [b"last\n"]
    assert await read(path, inotify, last=0) == []


async def test_carriage_returns_are_no_ends_of_lines(tmp_path: Path, inotify: Inotify) -> None:
    """A progress bar is one line, also in a tail."""
    path = tmp_path / "log"
    path.write_text(entry("first") + entry("10%\r20%\r30%") + entry("done"), newline="")
    assert await read(path, inotify, last=2) == [b"10%\r20%\r30%\n", b"done\n"]


async def test_the_streams_do_not_tear_each_other(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    path.write_text(
        entry("older")
        + entry("out ", mark="P")
        + entry("err ", "stderr", mark="P")
        + entry("between")
        + entry("line", "stderr")
        + entry("never ended", mark="P")
    )
    assert await read(path, inotify) == [b"older\n", b"out between\n", b"err line\n", b"never ended\n"]
    assert await read(path, inotify, last=2) == [b"err line\n", b"never ended\n"]
    assert await read(path, inotify, last=3) == [b"out between\n", b"err line\n", b"never ended\n"]


async def test_a_very_long_line_comes_in_bounded_parts(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    piece = "x" * 8192
    path.write_text(entry(piece, mark="P") * 300 + entry("end") + entry("next"))
    got = await read(path, inotify)
    assert b"".join(got) == b"x" * 8192 * 300 + b"end\nnext\n"
    assert max(map(len, got)) <= LONGEST_LINE + 8192 and len(got) == 4


async def test_a_file_that_is_no_log_is_not_read_into_memory(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (5 << 20) + b"\n" + entry("good").encode())
    assert await read(path, inotify) == [b"good\n"]


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(["stdout", "stderr"]), st.lists(st.text("ab \r\u20ac", max_size=5), min_size=1)
        ),
        max_size=12,
    ),
    order=st.randoms(use_true_random=False),
    block=st.integers(1, 200),
    last=st.integers(0, 14),
)
@settings(deadline=None)
def test_whatever_the_pieces_the_lines_are_whole(
    lines: list[tuple[str, list[str]]], order: Random, block: int, last: int
) -> None:
    """Pieces of both streams in any order, read in blocks of any size: lines in the order in which they end."""
    waiting: dict[str, list[tuple[str, bool]]] = {"stdout": [], "stderr": []}
    for stream, pieces in lines:
        waiting[stream] += [*((piece, False) for piece in pieces[:-1]), (pieces[-1], True)]
    text, expected, begun = "", [], {"stdout": "", "stderr": ""}
    while any(waiting.values()):
        stream = order.choice([name for name, pieces in waiting.items() if pieces])
        piece, full = waiting[stream].pop(0)
        text += entry(piece, stream, "F" if full else "P")
        begun[stream] += piece
        if full:
            expected.append((stream, begun[stream].encode() + b"\n"))
            begun[stream] = ""
    content = text.encode()
    first, older = tail(io.BytesIO(content), last, block)
    joiner = Joiner(older)
    records = [parse(raw) for raw in content[first:].split(b"\n")[:-1]]
    got = [line for record in records if record is not None and (line := joiner.add(record)) is not None]
    assert [(line.stream, line.data) for line in got] == expected[max(0, len(expected) - last) :]
    assert list(joiner.rest()) == []


async def test_a_follower_waits_for_the_rest_of_a_line(tmp_path: Path, inotify: Inotify) -> None:
    path = tmp_path / "log"
    path.write_text(entry("one") + entry("tw", mark="P"))
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        async for line in read_log(path, inotify, ended, follow=True, last=2):
            seen.append(line.data)
            if line.data == b"one\n":
                with path.open("a") as file:
                    file.write(entry("o") + entry("prompt> ", mark="P"))
            else:
                ended.set_result(None) if not ended.done() else None
    assert seen == [b"one\n", b"two\n", b"prompt> \n"]


class WithoutWatches(Inotify):
    """A host whose inotify watches are used up by others."""

    def watch(self, path: Path, mask: int, callback: Callback) -> Callable[[], None]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


async def test_a_host_without_inotify_watches_is_followed_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(entry("one"))
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    inotify = WithoutWatches()
    seen: list[bytes] = []
    async with asyncio.timeout(10):
        async for line in read_log(path, inotify, ended, follow=True):
            seen.append(line.data)
            if line.data == b"one\n":
                with path.open("a") as file:
                    file.write(entry("two"))
            else:
                ended.set_result(None)
    inotify.close()
    assert seen == [b"one\n", b"two\n"]


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
