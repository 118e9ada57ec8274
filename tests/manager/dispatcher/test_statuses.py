"""What of an agent's report is taken over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from manager.dispatcher.statuses import MAX_TEXT, status_change
from swarmcore.model.task import Task, TaskState, TaskStatus
from swarmcore.rpc.messages.session import StatusReport
from tests.fakes.raft import solo_store

LATER = datetime(2031, 1, 1, tzinfo=UTC)


async def report(old: TaskState, new: TaskStatus, node_id: str = "n1") -> TaskStatus:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(Task(id="t1", node_id="n1", status=TaskStatus(state=old)))
    change = status_change(node_id, StatusReport(task_id="t1", status=new))
    await store.transact(change)
    found = store.view().tasks.get("t1")
    assert found is not None
    return found.status


async def test_a_text_without_end_is_clipped() -> None:
    status = TaskStatus(
        state=TaskState.FAILED, timestamp=LATER, err="e" * (16 << 20), message="m" * (16 << 20)
    )
    taken = await report(TaskState.RUNNING, status)
    assert taken.state is TaskState.FAILED
    assert len(taken.err) == len(taken.message) == MAX_TEXT


@pytest.mark.parametrize(
    ("old", "new", "node_id"),
    [
        (TaskState.FAILED, TaskState.RUNNING, "n1"),  # a late report
        (TaskState.RUNNING, TaskState.FAILED, "n2"),  # another node's task
        (TaskState.RUNNING, TaskState.ORPHANED, "n1"),  # not an agent's to say
    ],
)
async def test_what_a_node_may_not_say_changes_nothing(old: TaskState, new: TaskState, node_id: str) -> None:
    assert (await report(old, TaskStatus(state=new, timestamp=LATER), node_id)).state is old
