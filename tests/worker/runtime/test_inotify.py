"""File events: heard of by everybody who watches, and by nobody who has stopped."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.worker.sample import until
from worker.runtime.inotify import IN_CLOSE_WRITE, IN_CREATE, IN_MODIFY, IN_MOVED_TO, Inotify


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    made = Inotify()
    yield made
    made.close()


async def test_everybody_who_watches_a_directory_hears_the_names(inotify: Inotify, tmp_path: Path) -> None:
    one: list[str] = []
    other: list[str] = []
    inotify.watch(tmp_path, IN_CLOSE_WRITE, one.append)
    inotify.watch(tmp_path, IN_MOVED_TO, other.append)  # one inode: the kernel has one watch for both
    (tmp_path / "written").write_bytes(b"x")
    (tmp_path / "written").rename(tmp_path / "moved")
    await until(lambda: "moved" in one and "moved" in other)
    assert one == other == ["written", "moved"]


async def test_a_file_itself_has_no_name_and_each_directory_tells_its_own(
    inotify: Inotify, tmp_path: Path
) -> None:
    file, folder = tmp_path / "log", tmp_path / "folder"
    file.write_bytes(b"")
    folder.mkdir()
    heard: list[tuple[str, str]] = []
    inotify.watch(file, IN_MODIFY, lambda name: heard.append(("file", name)))
    inotify.watch(folder, IN_CREATE, lambda name: heard.append(("folder", name)))
    file.write_bytes(b"more")
    (folder / "ä name").touch()
    await until(lambda: len(heard) >= 2)
    assert set(heard) == {("file", ""), ("folder", "ä name")}


async def test_who_stops_hears_nothing_more_and_the_others_go_on(inotify: Inotify, tmp_path: Path) -> None:
    gone: list[str] = []
    stays: list[str] = []
    stop = inotify.watch(tmp_path, IN_CREATE, gone.append)
    stop_other = inotify.watch(tmp_path, IN_CREATE, stays.append)
    stop()
    stop()
    (tmp_path / "a").touch()
    await until(lambda: stays == ["a"])
    assert gone == []
    stop_other()
    again: list[str] = []
    inotify.watch(tmp_path, IN_CREATE, again.append)
    (tmp_path / "b").touch()
    await until(lambda: again == ["b"])
    assert stays == ["a"]


async def test_a_callback_may_stop_its_own_watch(inotify: Inotify, tmp_path: Path) -> None:
    heard: list[str] = []

    def once(name: str) -> None:
        heard.append(name)
        stop()

    stop = inotify.watch(tmp_path, IN_CREATE, once)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    later: list[str] = []
    inotify.watch(tmp_path, IN_CREATE, later.append)
    (tmp_path / "c").touch()
    await until(lambda: "c" in later)
    assert heard == ["a"]


async def test_what_is_removed_while_it_is_watched_can_be_watched_anew(
    inotify: Inotify, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    stop = inotify.watch(folder, IN_CREATE, lambda name: None)
    folder.rmdir()
    await asyncio.sleep(0)
    folder.mkdir()
    heard: list[str] = []
    inotify.watch(folder, IN_CREATE, heard.append)
    (folder / "a").touch()
    await until(lambda: heard == ["a"])
    stop()
    (folder / "b").touch()
    await until(lambda: heard == ["a", "b"])


async def test_what_is_not_there_is_said(inotify: Inotify, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inotify.watch(tmp_path / "nowhere", IN_CREATE, lambda name: None)


async def test_a_closed_one_gives_its_descriptor_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    made = Inotify()
    stop = made.watch(tmp_path, IN_CREATE, lambda name: None)
    made.close()
    made.close()
    stop()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
