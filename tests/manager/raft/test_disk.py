"""The real disk: private, held by one at a time, and it says so when it is full."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

import pytest

from manager.raft.disk import RealDisk


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_and_files_are_the_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "raft"
    disk = RealDisk(directory)
    disk.create("file").close()
    assert (mode(directory), mode(directory / "file")) == (0o700, 0o600)
    disk.close()


def test_a_directory_that_was_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    disk = RealDisk(tmp_path)
    assert mode(tmp_path) == 0o700
    disk.close()


def test_one_holds_the_directory_at_a_time(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    with pytest.raises(BlockingIOError):
        RealDisk(tmp_path)
    disk.close()
    disk.close()
    RealDisk(tmp_path).close()


def test_files_are_written_renamed_read_in_parts_and_removed(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    file = disk.create("new.tmp")
    file.write(b"first ")
    file.write(b"second")
    file.fdatasync()
    disk.rename("new.tmp", "new")
    disk.fsync_dir()
    file.write(b" third")
    file.close()
    file.close()
    assert disk.listdir() == ["new"]
    assert disk.read("new") == b"first second third"
    reader = disk.open("new")
    disk.unlink("new")
    assert disk.listdir() == []
    assert (reader.size, reader.read(6, 6), reader.read(13, 100)) == (18, b"second", b"third")
    reader.close()
    disk.close()


def test_creating_a_file_again_empties_it(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    for data in (b"a leftover", b"new"):
        file = disk.create("file")
        file.write(data)
        file.close()
    assert disk.read("file") == b"new"
    disk.close()


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    for attempt in (disk.read, disk.open, disk.unlink):
        with pytest.raises(FileNotFoundError):
            attempt("nothing")
    disk.close()


def test_a_full_disk_is_an_error_and_not_a_short_write(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    (tmp_path / "full").symlink_to("/dev/full")
    file = disk.create("full")
    with pytest.raises(OSError) as raised:
        file.write(b"x")
    assert raised.value.errno == errno.ENOSPC
    file.close()
    disk.close()


def test_a_closed_disk_takes_nothing_more(tmp_path: Path) -> None:
    disk = RealDisk(tmp_path)
    disk.close()
    with pytest.raises(OSError):
        disk.create("late")
    assert list(tmp_path.iterdir()) == []
