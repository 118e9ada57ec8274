"""Sends the output of this node's tasks to the leader, for as long as somebody there reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from swarmcore.aio import Tasks
from swarmcore.errors import NotFound, SwarmError
from swarmcore.model.task import Task
from swarmcore.process.faults import log_level, one_line, passes
from swarmcore.rpc.messages.logs import (
    LogBatch,
    LogMessage,
    LogOptions,
    LogsEnd,
    LogStream,
    PublishLogs,
    SubscribeLogs,
)
from worker.tasks.controller import Executor

log = logging.getLogger(__name__)

BATCH = 100
BATCH_BYTES = 1 << 20  # what makes a batch full before that many lines do
# Lines read ahead of a slow reader: enough to fill batches, not enough to matter.
READ_AHEAD = 200
LONG = 8 << 10  # bytes; of longer lines only so many are read ahead:
LONG_AHEAD = 4


class PublishStream(Protocol):
    async def send(self, message: LogBatch | LogsEnd, /) -> None: ...


Connect = Callable[[PublishLogs], AbstractAsyncContextManager[PublishStream]]


class ReadAhead:
    """Lines between readers and the stream, bounded in number and size; None stands for a reader's end."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[LogMessage | None] = asyncio.Queue(READ_AHEAD)
        self._long = asyncio.Semaphore(LONG_AHEAD)

    async def put(self, line: LogMessage | None) -> None:
        if line is not None and len(line.data) > LONG:
            await self._long.acquire()
        await self._lines.put(line)

    async def next_lines(self) -> list[LogMessage | None]:
        """At least one, and what else is there, as far as it fits into one batch."""
        taken = [self._took(await self._lines.get())]
        size = _size(taken[0])
        while len(taken) < BATCH and size < BATCH_BYTES and not self._lines.empty():
            taken.append(self._took(self._lines.get_nowait()))
            size += _size(taken[-1])
        return taken

    def _took(self, line: LogMessage | None) -> LogMessage | None:
        if _size(line) > LONG:
            self._long.release()
        return line


def _size(line: LogMessage | None) -> int:
    return len(line.data) if line is not None else 0


class LogPublisher:
    def __init__(
        self, *, connect: Connect, executor: Executor, find_task: Callable[[str], Task | None]
    ) -> None:
        self._connect = connect
        self._executor = executor
        self._find_task = find_task
        self._loops = Tasks()
        self._running: dict[str, set[asyncio.Task[None]]] = {}

    def subscribe(self, message: SubscribeLogs, node_id: str) -> None:
        """Publish these tasks on a stream of their own; may be repeated with other tasks."""
        loop = self._loops.start(self._publish(message, node_id), f"logs {message.subscription_id}")
        self._running.setdefault(message.subscription_id, set()).add(loop)
        loop.add_done_callback(lambda done: self._finished(message.subscription_id, done))

    def unsubscribe(self, subscription_id: str) -> None:
        for loop in self._running.pop(subscription_id, ()):
            loop.cancel()

    def stop_all(self) -> None:
        """The session has ended: what the next leader wants, it says."""
        for subscription_id in tuple(self._running):
            self.unsubscribe(subscription_id)

    async def close(self) -> None:
        await self._loops.close()

    def _finished(self, subscription_id: str, loop: asyncio.Task[None]) -> None:
        loops = self._running.get(subscription_id)
        if loops is not None:
            loops.discard(loop)
            if not loops:
                del self._running[subscription_id]

    async def _publish(self, message: SubscribeLogs, node_id: str) -> None:
        opening = PublishLogs(subscription_id=message.subscription_id, task_ids=message.task_ids)
        try:
            async with self._connect(opening) as stream:
                warnings: list[str] = []
                async for batch in self._batches(message, node_id, warnings):
                    await stream.send(LogBatch(messages=batch))
                await stream.send(LogsEnd(warnings=tuple(warnings)))
        except (SwarmError, OSError) as error:
            log.info(
                "log stream ended", extra={"subscription": message.subscription_id, "reason": str(error)}
            )

    async def _batches(
        self, message: SubscribeLogs, node_id: str, warnings: list[str]
    ) -> AsyncIterator[tuple[LogMessage, ...]]:
        """The lines of all tasks as they come; a batch is what is there, never waited for."""
        lines = ReadAhead()
        readers = Tasks()
        try:
            for task_id in message.task_ids:
                readers.start(
                    self._read(task_id, message.options, node_id, lines, warnings), f"log of {task_id}"
                )
            open_readers = len(message.task_ids)
            while open_readers:
                waiting = await lines.next_lines()
                batch = tuple(line for line in waiting if line is not None)
                open_readers -= len(waiting) - len(batch)
                if batch:
                    yield batch
        finally:
            await readers.close()

    async def _read(
        self,
        task_id: str,
        options: LogOptions,
        node_id: str,
        lines: ReadAhead,
        warnings: list[str],
    ) -> None:
        try:
            await self._put_lines(task_id, options, node_id, lines)
        except SwarmError as error:
            warnings.append(f"task {task_id}: {error}")
        except Exception as error:
            log.log(
                log_level(error),
                "log reader failed",
                exc_info=None if passes(error) else error,
                extra={"task": task_id, "reason": one_line(error)},
            )
            warnings.append(f"task {task_id}: {one_line(error)}")
        # Not in a finally: a cancelled reader has no reader of its own any more.
        await lines.put(None)

    async def _put_lines(self, task_id: str, options: LogOptions, node_id: str, lines: ReadAhead) -> None:
        """What is wanted of one task's output; NotFound if it is not on this node."""
        task = self._find_task(task_id)
        if task is None:
            raise NotFound(f"not on node {node_id}")
        wanted = {LogStream.STDOUT: options.stdout, LogStream.STDERR: options.stderr}
        async for line in self._executor.logs(
            task_id, follow=options.follow, since=options.since, tail=options.tail
        ):
            stream = LogStream(line.stream)
            if wanted.get(stream, False):
                await lines.put(
                    LogMessage(
                        node_id=node_id,
                        service_id=task.service_id,
                        task_id=task_id,
                        stream=stream,
                        timestamp=line.timestamp,
                        data=line.data,
                    )
                )
