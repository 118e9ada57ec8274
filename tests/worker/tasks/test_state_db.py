"""What a worker remembers over a restart."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarmcore.model.task import TaskState, TaskStatus
from swarmcore.rpc.messages.session import ManagerAddress
from tests.worker.sample import task
from worker.tasks.state_db import StateDb
from worker.tasks.state_file import KEPT, Remembered

RUNNING = TaskStatus(state=TaskState.RUNNING)


async def opened(path: Path) -> StateDb:
    db = StateDb(path)
    await db.open()
    return db


async def test_tasks_statuses_and_managers_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "worker.db"
    managers = (ManagerAddress(node_id="m1", address="10.0.0.1:2377"),)
    db = await opened(path)
    await db.put_tasks([task("t1"), task("t2")])
    db.put_status("t1", RUNNING)
    db.put_managers(managers)
    await db.flushed()
    await db.close()
    again = await opened(path)
    assert again.tasks == {
        "t1": Remembered(task=task("t1"), status=RUNNING),
        "t2": Remembered(task=task("t2"), status=None),
    }
    assert again.managers == managers
    await again.close()


async def test_a_new_assignment_keeps_the_status(tmp_path: Path) -> None:
    db = await opened(tmp_path / "worker.db")
    await db.put_tasks([task("t1")])
    await db.put_status("t1", RUNNING)
    await db.put_tasks([task("t1", desired=TaskState.SHUTDOWN)])
    await db.close()
    again = await opened(tmp_path / "worker.db")
    assert again.tasks["t1"].status == RUNNING
    assert again.tasks["t1"].task.desired_state is TaskState.SHUTDOWN
    await again.close()


async def test_forgotten_tasks_are_gone_and_late_statuses_do_not_bring_them_back(tmp_path: Path) -> None:
    db = await opened(tmp_path / "worker.db")
    await db.put_tasks([task("t1")])
    await db.forget_task("t1")
    await db.put_status("t1", RUNNING)
    await db.close()
    again = await opened(tmp_path / "worker.db")
    assert again.tasks == {}
    await again.close()


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    db = await opened(tmp_path / "worker.db")
    await db.close()
    assert (tmp_path / "worker.db").stat().st_mode & 0o077 == 0


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database" * 100)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def zeroed(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def other_format(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=7")
    connection.close()


def other_tables(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE tasks")
    connection.close()


def senseless_row(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET task = 'x'")
    connection.close()


def id_that_is_no_text(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tasks SET id = CAST(x'FF' AS TEXT) WHERE id = 't1'")
    connection.close()


DAMAGE = [no_database, cut, zeroed, other_format, other_tables, senseless_row, id_that_is_no_text]


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_file_is_set_aside_said_and_begun_anew(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "worker.db"
    db = await opened(path)
    await db.put_tasks([task(f"t{number}") for number in range(50)])
    await db.close()
    damage(path)
    before = path.read_bytes()
    again = await opened(path)
    assert again.lost and again.tasks == {}
    assert (tmp_path / "worker.db.damaged").read_bytes() == before, "kept as it was"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    await again.put_tasks([task("t1")])
    await again.close()
    third = await opened(path)
    assert not third.lost and set(third.tasks) == {"t1"}
    await third.close()


@example(content=b"\0" * 13 + b"\5", where=34)  # a format to come
@example(content=b"\3", where=18)  # only a version to come may write it
@example(content=b"\x80", where=3901)  # a name that is no text
@given(content=st.binary(max_size=9000), where=st.integers(0, 8192))
@settings(max_examples=60, deadline=None)
def test_whatever_is_in_the_file_it_opens(content: bytes, where: int) -> None:
    """Bytes of the outside anywhere in a good file: what it says is read, or it is set aside."""

    async def story(path: Path) -> None:
        db = await opened(path)
        await db.put_tasks([task("t1"), task("t2")])
        await db.close()
        whole = path.read_bytes()
        path.write_bytes((whole[:where] + content + whole[where + len(content) :])[: len(whole)])
        again = await opened(path)
        await again.put_tasks([task("t3")])
        await again.close()

    with TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder) / "worker.db"))


async def test_many_damaged_files_are_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "worker.db"
    for _ in range(8):
        no_database(path)
        await (await opened(path)).close()
    assert len([each for each in tmp_path.iterdir() if ".damaged" in each.name]) == KEPT


async def test_a_file_that_is_damaged_while_it_is_open_is_written_anew_from_memory(tmp_path: Path) -> None:
    path = tmp_path / "worker.db"
    await (await opened(path)).close()
    db = await opened(path)
    await db.put_tasks([task("t1")])
    db.put_status("t1", RUNNING)
    await db.flushed()
    for name in ("worker.db", "worker.db-wal", "worker.db-shm"):
        with (tmp_path / name).open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.write(b"x" * size)
    await db.put_tasks([task("t2")])
    assert (tmp_path / "worker.db.damaged").exists()
    await db.close()
    again = await opened(path)
    assert set(again.tasks) == {"t1", "t2"} and again.tasks["t1"].status == RUNNING
    await again.close()


async def test_a_closed_database_loses_nothing_that_was_handed_over(tmp_path: Path) -> None:
    db = await opened(tmp_path / "worker.db")
    futures = [db.put_tasks([task(f"t{number}")]) for number in range(200)]
    await db.close()
    for future in futures:
        await future
    again = await opened(tmp_path / "worker.db")
    assert len(again.tasks) == 200
    await again.close()


async def test_an_opening_that_is_given_up_leaves_no_file_open(tmp_path: Path) -> None:
    """A daemon may stop, or leave its swarm, while its agent begins."""
    path = tmp_path / "worker.db"
    db = StateDb(path)
    opening = asyncio.get_running_loop().create_task(db.open())
    await asyncio.sleep(0)  # the thread is at work, or about to be
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await db.close()
    await asyncio.get_running_loop().shutdown_default_executor()  # whatever a thread still did is done
    assert path.exists()
    assert not [each for each in Path("/proc/self/fd").iterdir() if _leads_to(each, path)]


def _leads_to(descriptor: Path, path: Path) -> bool:
    try:
        return descriptor.readlink() == path
    except FileNotFoundError:  # the one that lists the others
        return False
