"""Small files are there whole or as they were, whatever happens in between."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.files import remove_tree, write_atomically


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
        write_atomically(path, b"x", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_what_reads_the_old_file_goes_on_with_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


def test_what_cannot_be_put_in_place_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.mkdir()
    (path / "inside").write_bytes(b"kept")
    with pytest.raises(OSError):
        write_atomically(path, b"x")
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "inside").read_bytes() == b"kept"
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", b"x")


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
        write_atomically(path, content)
    assert path.read_bytes() == contents[-1]
