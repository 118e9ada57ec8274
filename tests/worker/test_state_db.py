"""What a worker remembers over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmcore.errors import Internal
from swarmcore.model.task import TaskState, TaskStatus
from swarmcore.rpc.messages.session import ManagerAddress
from tests.worker.sample import task
from worker.state_db import Remembered, StateDb

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


async def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "worker.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(Internal, match=r"worker\.db"):
        await opened(path)
    assert path.read_bytes().startswith(b"this is no database")


async def test_a_closed_database_loses_nothing_that_was_handed_over(tmp_path: Path) -> None:
    db = await opened(tmp_path / "worker.db")
    futures = [db.put_tasks([task(f"t{number}")]) for number in range(200)]
    await db.close()
    for future in futures:
        await future
    again = await opened(tmp_path / "worker.db")
    assert len(again.tasks) == 200
    await again.close()
