"""Raft's disk: a directory, and the simulator's that forgets. While nothing fails, both are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manager.raft.disk import RealDisk
from manager.raft.interfaces import Disk, DiskFile
from tests.sim.disk import SimDisk


@pytest.fixture(params=["real", "simulated"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "simulated":
        yield SimDisk()
        return
    real = RealDisk(tmp_path / "raft")
    yield real
    real.close()


def written(disk: Disk, name: str, *parts: bytes) -> None:
    file = disk.create(name)
    for part in parts:
        file.write(part)
    file.close()


def test_what_was_written_is_read_whole_and_in_parts(disk: Disk) -> None:
    written(disk, "log", b"one ", b"", b"two")
    assert disk.read("log") == b"one two"
    reader = disk.open("log")
    assert (reader.size, reader.read(4, 3), reader.read(4, 100), reader.read(7, 5)) == (
        7,
        b"two",
        b"two",
        b"",
    )
    reader.close()


def test_it_is_read_before_it_is_synced_and_the_reader_sees_it_grow(disk: Disk) -> None:
    file = disk.create("log")
    reader = disk.open("log")
    file.write(b"abc")
    assert (reader.size, reader.read(0, 9)) == (3, b"abc")
    file.fdatasync()
    file.write(b"def")
    assert (reader.size, reader.read(2, 9)) == (6, b"cdef")
    file.close()
    reader.close()


def test_names_are_listed_in_order_and_one_made_again_is_empty(disk: Disk) -> None:
    assert disk.listdir() == []
    for name in ("b", "c", "a"):
        written(disk, name, b"x")
    written(disk, "b")
    disk.fsync_dir()
    assert (disk.listdir(), disk.read("b"), disk.read("a")) == (["a", "b", "c"], b"", b"x")


def test_a_rename_takes_the_place_of_what_has_the_name(disk: Disk) -> None:
    written(disk, "old", b"old")
    written(disk, "new", b"new")
    disk.rename("new", "old")
    assert (disk.listdir(), disk.read("old")) == (["old"], b"new")
    disk.rename("old", "old")
    assert (disk.listdir(), disk.read("old")) == (["old"], b"new")


@pytest.mark.parametrize("how", ["unlinked", "replaced"])
def test_what_is_open_stays_readable(disk: Disk, how: str) -> None:
    written(disk, "log", b"as it was")
    reader = disk.open("log")
    if how == "unlinked":
        disk.unlink("log")
        assert disk.listdir() == []
    else:
        written(disk, "newer", b"other")
        disk.rename("newer", "log")
    disk.fsync_dir()
    assert (reader.size, reader.read(0, 100)) == (9, b"as it was")
    reader.close()


@pytest.mark.parametrize(
    "act",
    [
        lambda disk: disk.open("no"),
        lambda disk: disk.read("no"),
        lambda disk: disk.unlink("no"),
        lambda disk: disk.rename("no", "log"),
    ],
    ids=["open", "read", "unlink", "rename"],
)
def test_what_is_not_there_is_said_and_nothing_changes(disk: Disk, act: Callable[[Disk], object]) -> None:
    written(disk, "log", b"here")
    with pytest.raises(FileNotFoundError):
        act(disk)
    assert (disk.listdir(), disk.read("log")) == (["log"], b"here")


NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("create"), NAMES),
    st.tuples(st.just("write"), NAMES, st.binary(max_size=20)),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("unlink"), NAMES),
    st.tuples(st.just("fsync_dir")),
)


def _take(disk: Disk, files: dict[str, DiskFile], step: tuple[str, *tuple[object, ...]]) -> str:
    """Name of the error, if one was raised. A file that is written to goes with its name, as the interface says."""
    match step:
        case ("create", str(name)):
            _end(files, name)
            files[name] = disk.create(name)
        case ("write", str(name), bytes(data)):
            if name in files:
                files[name].write(data)
        case _:
            try:
                getattr(disk, step[0])(*step[1:])
            except OSError as error:
                return type(error).__name__
            _renamed(files, *map(str, step))
    return ""


def _renamed(files: dict[str, DiskFile], act: str, old: str = "", new: str = "") -> None:
    if act == "rename" and old != new:
        _end(files, new)
        if old in files:
            files[new] = files.pop(old)


def _end(files: dict[str, DiskFile], name: str) -> None:
    """Nobody writes any more to what has this name."""
    if (file := files.pop(name, None)) is not None:
        file.close()


@settings(max_examples=60, deadline=None)
@example([("create", "a"), ("rename", "a", "b"), ("create", "b"), ("write", "a", b"x")])
@given(st.lists(STEPS, max_size=15))
def test_whatever_is_done_both_hold_the_same(steps: list[tuple[str, *tuple[object, ...]]]) -> None:
    with TemporaryDirectory() as folder:
        real, simulated = RealDisk(Path(folder)), SimDisk()
        try:
            opened: tuple[dict[str, DiskFile], dict[str, DiskFile]] = ({}, {})
            for step in steps:
                assert _take(real, opened[0], step) == _take(simulated, opened[1], step)
                assert real.listdir() == simulated.listdir()
            for name in real.listdir():
                assert real.read(name) == simulated.read(name)
        finally:
            for file in opened[0].values():
                file.close()
            real.close()
