"""A worker whose disk is really full: what it remembers later, what it says meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmcore.errors import Internal
from swarmcore.model.task import TaskState, TaskStatus
from swarmcore.process.faults import Faults, passes
from tests.worker.sample import task, until
from tests.worker.small_disk import small_disk
from worker.tasks.state_db import PART, StateDb

pytestmark = pytest.mark.root
RUNNING = TaskStatus(state=TaskState.RUNNING)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "256k") as folder:
        yield folder


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(512))
            except OSError:
                return filler


async def test_what_a_full_disk_does_not_take_is_written_when_there_is_room(small: Path) -> None:
    faults = Faults()
    db = StateDb(small / "worker.db", faults)
    await db.open()
    await db.put_tasks([task("t1"), task("t2")])
    filler = fill(small)
    many = [task(f"n{number}") for number in range(200)]
    with pytest.raises(Internal, match="full"):
        await db.put_tasks(many)
    db.put_status("t1", RUNNING)
    db.forget_task("t2")
    await until(lambda: PART in list(faults))
    assert "full" in faults.text
    filler.unlink()
    await until(lambda: not faults.text)
    await db.close()
    again = StateDb(small / "worker.db")
    await again.open()
    assert again.tasks["t1"].status == RUNNING
    assert set(again.tasks) == {"t1"} | {each.id for each in many}
    await again.close()


async def test_a_database_that_cannot_be_begun_says_so_and_can_be_tried_again(small: Path) -> None:
    filler = fill(small)
    db = StateDb(small / "worker.db")
    with pytest.raises(Internal, match=r"cannot open .*worker\.db"):
        await db.open()
    assert not db.is_open
    filler.unlink()
    await db.open()
    assert not db.lost, "a full disk is no damage"
    await db.close()


def test_a_full_disk_is_known_as_passing(small: Path) -> None:
    fill(small)
    with pytest.raises(OSError) as failure:
        (small / "more").write_bytes(bytes(1 << 20))
    assert passes(failure.value)
