"""Small files are there whole or as they were, whatever happens in between."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.files import private_directory, remove_durably, remove_tree, write_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "state.json"
    for content in (b"first, and longer", b"second", b""):
        write_atomically(path, content, durable=durable)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640])
def test_nobody_else_may_ever_read_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"open to all")
    path.chmod(0o666)
    before = os.umask(0o022)
    try:
        write_atomically(path, b"x", mode=mode, durable=False)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_reads_the_old_file_goes_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"old", durable=False)
    with path.open("rb") as reader:
        write_atomically(path, b"new", durable=False)
        assert reader.read() == b"old"


def test_what_cannot_be_put_in_place_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    (path / "inside").write_bytes(b"kept")
    with pytest.raises(OSError):
        write_atomically(path, b"x", durable=False)
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "inside").read_bytes() == b"kept"
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", b"x", durable=False)


def test_a_tree_is_removed_and_links_out_of_it_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"x")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(outside)
    remove_tree(tree)
    remove_tree(tree)
    assert not tree.exists() and (outside / "kept").read_bytes() == b"x"


@given(contents=st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_the_last_one_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("files") / "f"
    for content in contents:
        write_atomically(path, content, durable=False)
    assert path.read_bytes() == contents[-1]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel was asked to do, in order: "sync NAME", "rename NAME"."""
    asked: list[str] = []

    def recorded(what: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(subject: Any, *more: Any, **options: Any) -> Any:
            path = Path(f"/proc/self/fd/{subject}").readlink() if isinstance(subject, int) else Path(subject)
            asked.append(f"{what} {path.name}")
            return real(subject, *more, **options)

        return call

    for name, what in (("fsync", "sync"), ("replace", "rename"), ("unlink", "unlink"), ("mkdir", "make")):
        monkeypatch.setattr(os, name, recorded(what, getattr(os, name)))
    return asked


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_durable_file_is_synced_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, done: list[str]
) -> None:
    write_atomically(tmp_path / "key", b"whole", durable=True)
    assert done == ["unlink .key.new", "sync .key.new", "rename .key.new", f"sync {tmp_path.name}"]
    assert (tmp_path / "key").read_bytes() == b"whole"


def test_what_need_not_be_durable_does_not_wait_for_the_disk(tmp_path: Path, done: list[str]) -> None:
    write_atomically(tmp_path / "record", b"whole", durable=False)
    assert done == ["unlink .record.new", "rename .record.new"]


def test_what_is_removed_durably_does_not_come_back(tmp_path: Path, done: list[str]) -> None:
    (tmp_path / "key").touch()
    (tmp_path / ".key.new").touch()
    remove_durably(tmp_path / "key")
    remove_durably(tmp_path / "key")
    assert done == ["unlink .key.new", "unlink key", f"sync {tmp_path.name}"] * 2
    assert list(tmp_path.iterdir()) == []


def test_a_private_directory_and_its_missing_parents_have_durable_names(
    tmp_path: Path, done: list[str]
) -> None:
    private_directory(tmp_path / "state" / "raft")
    assert done == ["make state", f"sync {tmp_path.name}", "make raft", "sync state"]
    (tmp_path / "state" / "raft").chmod(0o755)
    private_directory(tmp_path / "state" / "raft")
    assert len(done) == 4
    assert mode(tmp_path / "state" / "raft") == 0o700


def test_threads_that_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    path, versions = tmp_path / "record", [bytes([n]) * 100_000 for n in range(4)]

    def write(version: bytes) -> bytes:
        for _ in range(30):
            write_atomically(path, version, durable=False)
        return path.read_bytes()

    with ThreadPoolExecutor(len(versions)) as pool:
        assert set(pool.map(write, versions)) <= set(versions)
    assert [each.name for each in tmp_path.iterdir()] == ["record"]


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
        write_atomically(tmp_path / "key", b"secret", mode=wanted, durable=True)
    finally:
        os.umask(before)
    assert mode(tmp_path / "key") == wanted and (tmp_path / "key").read_bytes() == b"secret"


def test_a_stray_file_of_a_crash_is_taken_over_and_never_written_through(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"not ours")
    (tmp_path / ".key.new").symlink_to(elsewhere)
    write_atomically(tmp_path / "key", b"secret", durable=True)
    assert elsewhere.read_bytes() == b"not ours"
    assert not (tmp_path / "key").is_symlink() and (tmp_path / "key").read_bytes() == b"secret"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "key"]


def test_what_cannot_be_put_in_place_leaves_no_secret_behind(tmp_path: Path) -> None:
    (tmp_path / "key" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "key", b"secret", durable=True)
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_removing_takes_the_stray_file_too_and_may_be_repeated(tmp_path: Path) -> None:
    write_atomically(tmp_path / "key", b"secret", durable=True)
    (tmp_path / ".key.new").write_bytes(b"half of a sec")
    remove_durably(tmp_path / "key")
    remove_durably(tmp_path / "key")
    remove_durably(tmp_path / "nowhere" / "key")
    assert list(tmp_path.iterdir()) == []
