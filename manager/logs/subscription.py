"""One reader's logs on the leader: which node still owes which tasks' lines, and the lines that wait for the reader.

What cannot be had becomes a warning instead of an error: the rest is still worth reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterable
from datetime import datetime

from msgspec.structs import replace

from manager.agents.conversations import AgentLink
from manager.logs.pieces import MAX_LINE, size
from manager.rules.reports import MAX_ID, comparable
from swarmcore.aio import Changes
from swarmcore.errors import Forbidden
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.messages.logs import (
    FromPublisher,
    LogBatch,
    LogMessage,
    LogOptions,
    LogSelector,
    LogsEnd,
    PublishLogs,
    SubscribeLogs,
    UnsubscribeLogs,
)
from swarmcore.rpc.stream import Stream

BUFFERED_BATCHES = 16
BUFFERED_BYTES = 8 << 20  # of output, after which agents wait
MAX_WARNING, MOST_WARNINGS = 500, 100


class Subscription:
    """One reader's logs on the leader: which node still owes which tasks, and the lines that wait."""

    def __init__(
        self,
        subscription_id: str,
        selector: LogSelector,
        options: LogOptions,
        link: AgentLink,
    ) -> None:
        self.id = subscription_id
        self.warnings: list[str] = []
        self._selector = selector
        self._options = options
        self._link = link
        self._asked: dict[str, str] = {}  # task -> its node
        self._opened: set[str] = set()
        self._owed: set[str] = set()
        self._newest: dict[str, datetime] = {}
        self._resumed: set[str] = set()
        self._batches: deque[tuple[LogMessage, ...]] = deque()
        self._bytes = 0  # of output in them
        self._changes = Changes()
        self._closed = False

    def wants(self, task: Task) -> bool:
        """A task that has come to start has logs, whatever became of it; one that was rejected has none."""
        if task.id not in self._selector.task_ids and task.service_id not in self._selector.service_ids:
            return False
        return bool(task.node_id) and TaskState.STARTING <= task.status.state < TaskState.REJECTED

    def ask(self, tasks: Iterable[Task]) -> None:
        """Ask the nodes of those tasks that were not asked for yet."""
        by_node: dict[str, list[str]] = {}
        for task in tasks:
            if task.id not in self._asked and self.wants(task) and task.node_id:
                self._asked[task.id] = task.node_id
                by_node.setdefault(task.node_id, []).append(task.id)
        for node_id, task_ids in sorted(by_node.items()):
            self._owed.update(task_ids)
            self._tell(node_id, tuple(sorted(task_ids)), self._options)

    def _tell(self, node_id: str, task_ids: tuple[str, ...], options: LogOptions) -> None:
        message = SubscribeLogs(subscription_id=self.id, task_ids=task_ids, options=options)
        if not self._link.tell(node_id, message):
            self._owed.difference_update(task_ids)
            self._warn(f"node {node_id} is not available")

    def session_broke(self, node_id: str) -> None:
        """Its session ended. A follower waits for it to come back, others do not."""
        owed = {task_id for task_id in self._owed if self._asked[task_id] == node_id}
        unopened = owed - self._opened
        if unopened:
            self._warn(f"node {node_id} disconnected unexpectedly")
            self._settle(unopened)

    def session_opened(self, node_id: str) -> None:
        """A follower goes on after the last line that it has of each task."""
        if not self._options.follow:
            return
        for task_id in sorted(t for t, node in self._asked.items() if node == node_id):
            since = self._newest.get(task_id)
            options = self._options
            if since is not None:
                options = replace(options, since=since, tail=None)
                self._resumed.add(task_id)
            self._owed.add(task_id)
            self._opened.discard(task_id)
            self._tell(node_id, (task_id,), options)

    def give_up_unopened(self) -> None:
        late = self._owed - self._opened
        if late:
            for node_id in sorted({self._asked[task_id] for task_id in late}):
                self._warn(f"node {node_id} did not answer")
            self._settle(late)

    async def publish(self, node_id: str, opening: PublishLogs, stream: Stream[FromPublisher]) -> None:
        """One agent's stream; it carries only what was asked of that node."""
        mine = {task_id for task_id in opening.task_ids if self._asked.get(task_id) == node_id}
        if len(mine) != len(opening.task_ids):
            raise Forbidden("these tasks' logs were not asked of this node")
        self._opened |= mine
        finished = False
        try:
            while not self._closed:
                message = await stream.receive()
                if isinstance(message, LogsEnd):
                    finished = True
                    for warning in message.warnings:
                        self._warn(warning)
                    return
                await self._put(tuple(self._checked(message, mine, node_id)))
        finally:
            if not finished and not self._closed and not self._options.follow:
                self._warn(f"node {node_id} disconnected unexpectedly")
            self._settle(mine)

    def _checked(self, batch: LogBatch, mine: set[str], node_id: str) -> Iterable[LogMessage]:
        for given in batch.messages:
            if given.task_id not in mine:
                continue
            message = replace(
                given,
                node_id=node_id,
                timestamp=comparable(given.timestamp),
                data=given.data[:MAX_LINE],
                service_id=given.service_id[:MAX_ID],
            )
            newest = self._newest.get(message.task_id)
            if message.task_id in self._resumed and newest is not None and message.timestamp <= newest:
                continue  # sent before the session was interrupted
            self._newest[message.task_id] = message.timestamp
            yield message

    async def _put(self, batch: tuple[LogMessage, ...]) -> None:
        """Waits while the reader is slow: so do the agents then, and nobody's memory grows."""
        await self._changes.until(lambda: self._closed or self._has_room())
        if batch and not self._closed:
            self._batches.append(batch)
            self._bytes += size(batch)
            self._changes.tell()

    def _has_room(self) -> bool:
        return len(self._batches) < BUFFERED_BATCHES and self._bytes < BUFFERED_BYTES

    def _settle(self, task_ids: Iterable[str]) -> None:
        self._owed.difference_update(task_ids)
        self._changes.tell()

    async def batches(self) -> AsyncIterator[tuple[LogMessage, ...]]:
        while True:
            await self._changes.until(lambda: self._batches or not (self._owed or self._options.follow))
            if not self._batches:
                return
            batch = self._batches.popleft()
            self._bytes -= size(batch)
            self._changes.tell()
            yield batch

    def close(self) -> None:
        self._closed = True
        self._changes.tell()
        for node_id in sorted(set(self._asked.values())):
            self._link.tell(node_id, UnsubscribeLogs(subscription_id=self.id))

    def _warn(self, warning: str) -> None:
        if warning[:MAX_WARNING] not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(warning[:MAX_WARNING])
