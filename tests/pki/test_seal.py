from __future__ import annotations

from pathlib import Path

import pytest

from pki.keys import Locked
from pki.seal import FILE, DataKeyFile
from swarmcore.errors import FailedPrecondition

OLD, NEW = bytes(range(32)), bytes(range(32, 64))


def test_a_data_key_is_made_once_and_private(tmp_path: Path) -> None:
    directory = tmp_path / "raft"
    made = DataKeyFile(directory).load_or_create()
    assert len(made.current) == 32
    assert DataKeyFile(directory).load_or_create() == made
    assert (directory / FILE).stat().st_mode & 0o777 == 0o600
    assert repr(made) == "DataKeys(1 keys)"


def test_a_wrapped_key_opens_with_its_kek_only(tmp_path: Path) -> None:
    file = DataKeyFile(tmp_path)
    made = file.load_or_create(OLD)
    assert file.load_or_create(OLD) == made
    assert made.current not in (tmp_path / FILE).read_bytes()
    for kek in (None, NEW):
        with pytest.raises(Locked):
            file.load_or_create(kek)


def test_while_the_kek_changes_both_open_the_file_and_then_only_the_new_one(tmp_path: Path) -> None:
    file = DataKeyFile(tmp_path)
    made = file.load_or_create(OLD)
    file.change_kek(OLD, NEW)
    assert file.load_or_create(OLD) == file.load_or_create(NEW) == made
    file.settle(NEW)
    assert file.load_or_create(NEW) == made
    with pytest.raises(Locked):
        file.load_or_create(OLD)


def test_autolock_goes_on_and_off(tmp_path: Path) -> None:
    file = DataKeyFile(tmp_path)
    made = file.load_or_create()
    file.change_kek(None, NEW)
    file.settle(NEW)
    with pytest.raises(Locked):
        file.load_or_create()
    file.change_kek(NEW, None)
    file.settle(None)
    assert file.load_or_create() == made


def test_rotation_keeps_the_older_keys_until_they_are_dropped(tmp_path: Path) -> None:
    file = DataKeyFile(tmp_path)
    first = file.load_or_create(OLD)
    second = file.rotate(OLD)
    assert second.older == (first.current,)
    assert second.current != first.current
    assert file.load_or_create(OLD) == second
    assert file.drop_older(OLD).older == ()
    assert file.load_or_create(OLD).current == second.current


@pytest.mark.parametrize("content", [b"", b"nonsense", b"plain", b"plain AAAA", b"plain ***", b"\xff\xfe"])
def test_a_damaged_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(FailedPrecondition, match="damaged"):
        DataKeyFile(tmp_path).load_or_create()
    assert (tmp_path / FILE).read_bytes() == content
