"""A node's secret files: theirs alone, whole or as they were, durable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pki.files import private_directory, remove, write_atomically


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_is_made_with_its_parents_or_closed_where_it_was_open(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    private_directory(made)
    assert made.is_dir() and mode(made) == 0o700
    made.chmod(0o755)
    (made / "kept").write_bytes(b"x")
    private_directory(made)
    assert mode(made) == 0o700 and (made / "kept").read_bytes() == b"x"


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("wanted", [0o600, 0o644])
def test_a_file_has_its_mode_whatever_the_umask_says(tmp_path: Path, umask: int, wanted: int) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "key", b"secret", wanted)
    finally:
        os.umask(before)
    assert mode(tmp_path / "key") == wanted and (tmp_path / "key").read_bytes() == b"secret"


def test_a_stray_file_of_a_crash_is_taken_over_and_never_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    (tmp_path / ".key.new").symlink_to(elsewhere)
    write_atomically(tmp_path / "key", b"secret")
    assert elsewhere.read_bytes() == b"not ours"
    assert not (tmp_path / "key").is_symlink() and (tmp_path / "key").read_bytes() == b"secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "key"]


def test_what_cannot_be_put_in_place_leaves_no_secret_behind(tmp_path: Path) -> None:
    (tmp_path / "key" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "key", b"secret")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_removing_takes_the_stray_file_too_and_may_be_repeated(tmp_path: Path) -> None:
    write_atomically(tmp_path / "key", b"secret")
    (tmp_path / ".key.new").write_bytes(b"half of a sec")
    remove(tmp_path / "key")
    remove(tmp_path / "key")
    remove(tmp_path / "nowhere" / "key")
    assert list(tmp_path.iterdir()) == []
