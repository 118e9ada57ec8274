"""The file that a node's tasks are remembered in: whole transactions, and damage told from a disk that is only full."""

from __future__ import annotations

import errno
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from swarmcore.rpc.messages.session import ManagerAddress
from tests.worker.sample import task
from worker.tasks.state_file import FORMAT, KEPT, Damaged, StateFile, Statement, is_damage

MANAGER = "INSERT INTO managers VALUES (?, ?)"
TASK = "INSERT INTO tasks VALUES (?, ?, ?)"


def managers(*names: str) -> list[Statement]:
    return [(MANAGER, (name, f"{name}:2377")) for name in names]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker" / "tasks.db"


def held(path: Path) -> tuple[list[str], list[str]]:
    """What the next process finds: managers and tasks."""
    file = StateFile(path)
    try:
        found = file.open()
        return [manager.node_id for manager in found.managers], sorted(found.tasks)
    finally:
        file.close()


def test_a_new_file_is_empty_private_and_keeps_what_is_written(path: Path) -> None:
    file = StateFile(path)
    assert file.open().tasks == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.write([*managers("m2", "m1"), (TASK, ("t1", msgspec.msgpack.encode(task("t1")), None))])
    file.close()
    file.close()
    found = StateFile(path)
    content = found.open()
    found.close()
    assert content.managers == tuple(ManagerAddress(node_id=n, address=f"{n}:2377") for n in ("m1", "m2"))
    assert content.tasks["t1"].task == task("t1") and content.tasks["t1"].status is None


def test_what_was_written_is_there_without_a_close(path: Path) -> None:
    file = StateFile(path)
    file.write(managers("m1"))
    assert held(path) == (["m1"], [])
    file.close()


def test_all_of_a_transaction_is_written_or_nothing(path: Path) -> None:
    file = StateFile(path)
    file.write(managers("m1"))
    with pytest.raises(sqlite3.IntegrityError):
        file.write(managers("m2", "m1"))
    file.write(managers("m3"))  # and it goes on
    file.close()
    assert held(path) == (["m1", "m3"], [])


def damaged(path: Path, how: str) -> None:
    if how == "garbage":
        path.write_bytes(b"x" * 4096)
    elif how == "pages":
        raw = bytearray(path.read_bytes())
        raw[100:] = bytes(len(raw) - 100)
        path.write_bytes(raw)
    else:
        connection = sqlite3.connect(path, isolation_level=None)
        if how == "row":
            connection.execute(TASK, ("t1", b"\xc1 no task", None))
        elif how == "format":
            connection.execute(f"PRAGMA user_version={FORMAT + 1}")
        elif how == "schema":
            connection.execute("DROP TABLE managers")
        connection.close()


@pytest.mark.parametrize("how", ["garbage", "pages", "row", "format", "schema"])
def test_damage_is_told_kept_beside_it_and_begun_anew(path: Path, how: str) -> None:
    file = StateFile(path)
    file.write(managers("m1"))
    file.close()
    damaged(path, how)
    before = path.read_bytes()
    with pytest.raises((Damaged, sqlite3.DatabaseError)) as refused:
        file.open()
    assert is_damage(refused.value)
    kept = file.set_aside()
    assert kept.read_bytes() == before and kept.name == "tasks.db.damaged"
    file.write(managers("m2"))
    file.close()
    assert held(path) == (["m2"], [])


def test_only_so_many_damaged_files_are_kept(path: Path) -> None:
    file = StateFile(path)
    for number in range(KEPT + 3):
        file.open()
        file.close()
        path.write_bytes(b"%d" % number)
        file.set_aside()
    kept = sorted(path.parent.iterdir())
    assert len(kept) == KEPT
    assert kept[0].read_bytes() == b"0"  # the first damage says most
    assert b"%d" % (KEPT + 2) in {each.read_bytes() for each in kept}


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "full"), sqlite3.OperationalError("database is locked"), ValueError("bug")],
    ids=repr,
)
def test_what_passes_is_no_damage(error: Exception) -> None:
    assert not is_damage(error)


def test_a_folder_that_takes_no_file_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    file = StateFile(tmp_path / "taken" / "tasks.db")
    with pytest.raises(OSError) as refused:
        file.open()
    assert not is_damage(refused.value)
