"""Statuses on their way to the leader."""

from __future__ import annotations

import asyncio

import msgspec
from msgspec.structs import replace

from swarmcore.aio import owned
from swarmcore.clock import RealClock
from swarmcore.model.task import TaskState, TaskStatus
from swarmcore.rpc.messages.session import MAX_FROM_AGENT, StatusReports
from tests.worker.sample import until
from worker.agent.reporter import BATCH, Reporter

READY = TaskStatus(state=TaskState.READY)
RUNNING = TaskStatus(state=TaskState.RUNNING)


def test_only_the_newest_status_of_a_task_is_sent() -> None:
    reporter = Reporter(RealClock())
    reporter.put("t1", READY)
    reporter.put("t1", RUNNING)
    batch = reporter.next_batch()
    assert batch is not None
    assert [(r.task_id, r.status) for r in batch.reports] == [("t1", RUNNING)]
    assert reporter.next_batch() is None


def test_statuses_of_any_size_travel_in_messages_that_the_leader_takes() -> None:
    reporter = Reporter(RealClock())
    for number in range(2 * BATCH):
        reporter.put(f"t{number}", replace(RUNNING, err="e" * (1 << 20), message="m" * 10_000))
    sent: list[str] = []
    while (batch := reporter.next_batch()) is not None:
        assert len(msgspec.msgpack.encode(batch)) < MAX_FROM_AGENT
        sent += [report.task_id for report in batch.reports]
    assert sorted(sent) == sorted(f"t{number}" for number in range(2 * BATCH))


def test_what_is_not_acknowledged_stays_pending() -> None:
    reporter = Reporter(RealClock())
    reporter.put("t1", READY)
    first = reporter.next_batch()
    reporter.put("t1", RUNNING)
    assert first is not None
    reporter.acknowledge(first.number)
    assert reporter.pending == {"t1": RUNNING}


def test_a_new_session_reports_everything_again() -> None:
    reporter = Reporter(RealClock())
    reporter.put("t1", READY)
    lost = reporter.next_batch()
    reporter.start_over({"t1": READY, "t2": RUNNING})
    again = reporter.next_batch()
    assert lost is not None and again is not None
    assert {r.task_id for r in again.reports} == {"t1", "t2"}
    reporter.acknowledge(lost.number)  # of the old session: means nothing now
    assert set(reporter.pending) == {"t1", "t2"}


def test_large_crowds_come_in_several_batches() -> None:
    reporter = Reporter(RealClock())
    for number in range(BATCH + 1):
        reporter.put(f"t{number}", RUNNING)
    sizes = []
    while (batch := reporter.next_batch()) is not None:
        sizes.append(len(batch.reports))
    assert sizes == [BATCH, 1]


async def test_statuses_of_one_moment_share_a_message() -> None:
    reporter = Reporter(RealClock())
    sent: list[StatusReports] = []

    async def send(batch: StatusReports) -> None:
        sent.append(batch)

    async with owned(reporter.run(send), "reporter"):
        reporter.put("t0", RUNNING)
        await until(lambda: sent)
        for number in range(20):
            reporter.put(f"t{number}", RUNNING)
            await asyncio.sleep(0)
        await until(lambda: sum(len(batch.reports) for batch in sent) == 21)
    assert len(sent) <= 4
