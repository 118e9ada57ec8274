"""What of an agent's report is taken over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from manager.dispatcher.statuses import StatusChange, Writer
from manager.rules.reports import MAX_TEXT
from manager.store.tx import Tx
from swarmcore.aio import owned
from swarmcore.model.node import Node, NodeDescription
from swarmcore.model.task import Task, TaskState, TaskStatus
from swarmcore.rpc.messages.session import StatusReport
from swarmcore.rpc.refusals import Refusals
from tests.fakes.raft import StepClock, solo_store

LATER = datetime(2031, 1, 1, tzinfo=UTC)


async def report(old: TaskState, new: TaskStatus, node_id: str = "n1") -> TaskStatus:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(Task(id="t1", node_id="n1", status=TaskStatus(state=old)))
    change = StatusChange(node_id, StatusReport(task_id="t1", status=new), Refusals())
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


@pytest.mark.parametrize(
    "told",
    [
        datetime(2030, 1, 1),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=UTC),
        None,
    ],
)
async def test_a_time_that_others_could_not_reckon_with_becomes_one_that_they_can(
    told: datetime | None,
) -> None:
    taken = await report(TaskState.RUNNING, TaskStatus(state=TaskState.FAILED, timestamp=told))
    assert taken.timestamp is not None
    assert taken.timestamp - timedelta(days=365 * 300) < LATER + timedelta(days=365 * 300)


# -- the writer: what one node sends never stops what others do ---------------------------------------
async def test_a_change_that_fails_or_is_too_large_is_left_out_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, _ = solo_store()
    writer = Writer(store, StepClock())

    def breaks(tx: Tx) -> None:
        tx.put(Node(id="half"))
        raise TypeError("can't compare offset-naive and offset-aware datetimes")

    def huge(tx: Tx) -> None:
        tx.put(Node(id="huge", description=NodeDescription(hostname="h" * (20 << 20))))

    async with owned(writer.run(), "writer") as running:
        answers = [
            writer.submit("n1", [lambda tx: None, breaks]),
            writer.submit("n2", [huge]),
            writer.submit("n3", [lambda tx: _put(tx, "good")]),
            writer.submit("n3", []),
        ]
        assert [await answer for answer in answers] == [False, False, True, True]
        assert not running.done()
    assert [node.id for node in store.view().nodes] == ["good"]
    refused = [record for record in caplog.records if "cannot be written" in record.message]
    assert [record.__dict__["node"] for record in refused] == ["n1", "n2"]


def _put(tx: Tx, node_id: str) -> None:
    tx.put(Node(id=node_id))
