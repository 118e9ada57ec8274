"""What is read ahead of a slow reader is bounded, in lines and in bytes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from swarmcore.aio import owned
from swarmcore.rpc.messages.logs import LogMessage, LogStream
from tests.worker.sample import until
from worker.agent.log_publisher import BATCH, BATCH_BYTES, LONG, LONG_AHEAD, READ_AHEAD, ReadAhead


def line(size: int) -> LogMessage:
    return LogMessage(
        node_id="n1",
        service_id="s1",
        task_id="t1",
        stream=LogStream.STDOUT,
        timestamp=datetime(2026, 1, 1, tzinfo=UTC),
        data=b"x" * size,
    )


async def test_long_lines_are_read_ahead_few_at_a_time_and_batches_have_a_size() -> None:
    ahead = ReadAhead()
    put: list[int] = []

    async def reader() -> None:
        for number in range(20):
            await ahead.put(line(BATCH_BYTES // 2))
            put.append(number)
        await ahead.put(None)

    taken: list[LogMessage | None] = []
    async with owned(reader(), "reader"):
        await until(lambda: len(put) == LONG_AHEAD)
        await asyncio.sleep(0)
        assert len(put) == LONG_AHEAD
        while None not in taken:
            batch = await ahead.next_lines()
            taken += batch
            assert sum(len(each.data) for each in batch if each is not None) <= 2 * BATCH_BYTES
    assert len(taken) == 21


async def test_short_lines_share_batches() -> None:
    ahead = ReadAhead()
    for _ in range(READ_AHEAD):
        await ahead.put(line(LONG))
    assert len(await ahead.next_lines()) == BATCH
    assert len(await ahead.next_lines()) == READ_AHEAD - BATCH
