"""Collects service logs: asks the agents of the tasks through their sessions, merges what they publish.

Only the leader has sessions, so a follower streams from the leader. What cannot be had (a node is down, a
stream breaks) ends the logs with one warning instead of an error: the rest is still worth reading.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from datetime import datetime
from typing import Protocol

from msgspec.structs import replace

from manager.leader import Leader
from manager.logs.pieces import MAX_LINE, pieces, size
from manager.rules.reports import MAX_ID, comparable
from manager.store.store import Store
from manager.store.tables import View
from manager.store.watch import Lagged
from swarmcore.aio import Tasks, owned
from swarmcore.clock import Clock
from swarmcore.errors import Forbidden, NoLeader, NotFound, SwarmError, Unavailable
from swarmcore.ids import NewId
from swarmcore.model.node import NodeRole
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.logs import (
    FromPublisher,
    LogBatch,
    LogMessage,
    LogOptions,
    LogSelector,
    LogsEnd,
    LogsRequest,
    LogStream,
    PublishLogs,
    SubscribeLogs,
    UnsubscribeLogs,
)
from swarmcore.rpc.messages.session import ToAgent
from swarmcore.rpc.server import Peer, RpcServer
from swarmcore.rpc.stream import Stream

log = logging.getLogger(__name__)

OPENING_TIMEOUT = 10.0
BUFFERED_BATCHES = 16
BUFFERED_BYTES = 8 << 20  # of output, after which agents wait
MAX_WARNING, MOST_WARNINGS = 500, 100
INCOMPLETE = "warning: incomplete log stream. some logs could not be retrieved for the following reasons: "


class AgentLink(Protocol):
    """What the broker needs of the dispatcher."""

    def tell(self, node_id: str, message: ToAgent) -> bool: ...

    def listen(self, listener: Callable[[str, bool], None]) -> None: ...


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
        self._changed = asyncio.Condition()
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

    async def node_gone(self, node_id: str) -> None:
        """Its session ended. A follower waits for it to come back, others do not."""
        owed = {task_id for task_id in self._owed if self._asked[task_id] == node_id}
        unopened = owed - self._opened
        if unopened:
            self._warn(f"node {node_id} disconnected unexpectedly")
            await self._settle(unopened)

    def node_back(self, node_id: str) -> None:
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

    async def give_up_unopened(self) -> None:
        late = self._owed - self._opened
        if late:
            for node_id in sorted({self._asked[task_id] for task_id in late}):
                self._warn(f"node {node_id} did not answer")
            await self._settle(late)

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
            await self._settle(mine)

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
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or self._has_room())
            if batch and not self._closed:
                self._batches.append(batch)
                self._bytes += size(batch)
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._batches) < BUFFERED_BATCHES and self._bytes < BUFFERED_BYTES

    async def _settle(self, task_ids: Iterable[str]) -> None:
        async with self._changed:
            self._owed.difference_update(task_ids)
            self._changed.notify_all()

    async def batches(self) -> AsyncIterator[tuple[LogMessage, ...]]:
        while True:
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._batches or not (self._owed or self._options.follow)
                )
                if not self._batches:
                    return
                batch = self._batches.popleft()
                self._bytes -= size(batch)
                self._changed.notify_all()
            yield batch

    async def close(self) -> None:
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        for node_id in sorted(set(self._asked.values())):
            self._link.tell(node_id, UnsubscribeLogs(subscription_id=self.id))

    def _warn(self, warning: str) -> None:
        if warning[:MAX_WARNING] not in self.warnings and len(self.warnings) < MOST_WARNINGS:
            self.warnings.append(warning[:MAX_WARNING])


class LogBroker:
    """`logs` works on every manager; `serve_*` are registered on every manager and answer on the leader."""

    def __init__(
        self,
        store: Store,
        leader: Leader,
        dispatcher: AgentLink,
        client: RpcClient,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._store = store
        self._leader = leader
        self._link = dispatcher
        self._client = client
        self._clock = clock
        self._new_id = new_id
        self._subscriptions: dict[str, Subscription] = {}
        self._tasks = Tasks()
        dispatcher.listen(self._session_changed)

    def register(self, server: RpcServer) -> None:
        server.stream(PublishLogs, self.serve_publisher, roles=frozenset(NodeRole), incoming=FromPublisher)
        server.stream(LogsRequest, self.serve_follower, roles=frozenset({NodeRole.MANAGER}), incoming=LogsEnd)

    def unregister(self, server: RpcServer) -> None:
        server.unregister(PublishLogs)
        server.unregister(LogsRequest)

    async def close(self) -> None:
        await self._tasks.close()

    async def logs(self, selector: LogSelector, options: LogOptions) -> AsyncGenerator[LogMessage, None]:
        """Lines as they come, per task in order; what is missing is told by a last line on stderr."""
        warnings: list[str] = []
        source = (
            self._local(selector, options, warnings)
            if self._leader.is_here
            else self._remote(selector, options, warnings)
        )
        async with aclosing(source) as batches:
            async for batch in batches:
                for message in batch:
                    yield message
        if warnings:
            yield LogMessage(
                node_id="",
                service_id="",
                task_id="",
                stream=LogStream.STDERR,
                timestamp=self._clock.now(),
                data=(INCOMPLETE + "; ".join(warnings) + "\n").encode(),
            )

    async def _remote(
        self, selector: LogSelector, options: LogOptions, warnings: list[str]
    ) -> AsyncGenerator[tuple[LogMessage, ...], None]:
        leader = self._leader.elsewhere()
        opening = LogsRequest(selector=selector, options=options)
        async with self._client.stream(
            leader.address, opening, incoming=FromPublisher, timeout=5.0
        ) as stream:
            while True:
                try:
                    message = await stream.receive()
                except Unavailable as error:
                    warnings.append(f"the leader does not answer: {error}")
                    return
                if isinstance(message, LogsEnd):
                    warnings.extend(message.warnings)
                    return
                yield message.messages

    async def _local(
        self, selector: LogSelector, options: LogOptions, warnings: list[str]
    ) -> AsyncGenerator[tuple[LogMessage, ...], None]:
        subscription = Subscription(self._new_id(), selector, options, self._link)
        self._subscriptions[subscription.id] = subscription
        try:
            async with owned(self._accompany(subscription, options), f"logs {subscription.id}") as companion:
                # Nothing is owed before the first question is asked.
                subscription.ask(_candidates(self._store.view(), selector))
                async for batch in subscription.batches():
                    yield batch
                    if companion.done() and options.follow:
                        raise NoLeader("this manager stopped watching the tasks")
        finally:
            del self._subscriptions[subscription.id]
            warnings.extend(subscription.warnings)
            await subscription.close()

    async def _accompany(self, subscription: Subscription, options: LogOptions) -> None:
        """Beside the reader: new tasks while following, otherwise an end to waiting."""
        if not options.follow:
            await self._clock.sleep(OPENING_TIMEOUT)
            await subscription.give_up_unopened()
            return
        with self._store.watch(kinds=frozenset({Task})) as feed:
            subscription.ask(self._store.view().tasks)
            while True:
                try:
                    commit = await feed.get()
                except Lagged:
                    subscription.ask(self._store.view().tasks)
                else:
                    subscription.ask(c.new for c in commit.changes if isinstance(c.new, Task))

    def _session_changed(self, node_id: str, connected: bool) -> None:
        for subscription in tuple(self._subscriptions.values()):
            if connected:
                subscription.node_back(node_id)
            else:
                self._tasks.start(subscription.node_gone(node_id), f"logs {subscription.id}")

    # -- routes -------------------------------------------------------------------------------------

    async def serve_publisher(self, peer: Peer, opening: PublishLogs, stream: Stream[FromPublisher]) -> None:
        subscription = self._subscriptions.get(opening.subscription_id)
        if subscription is None:
            raise NotFound("nobody reads these logs any more")
        await subscription.publish(peer.node_id, opening, stream)

    async def serve_follower(self, peer: Peer, opening: LogsRequest, stream: Stream[LogsEnd]) -> None:
        self._leader.verify(peer)
        warnings: list[str] = []
        source = self._local(opening.selector, opening.options, warnings)
        async with owned(_until_closed(stream), "log reader") as gone, aclosing(source) as batches:
            following = Tasks()
            try:
                while True:
                    step = following.start(_next(batches), "log batch")
                    await asyncio.wait({step, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if gone.done():
                        return
                    if (batch := step.result()) is None:
                        break
                    for piece in pieces(batch):
                        await stream.send(LogBatch(messages=piece))
            finally:
                await following.close()
        await stream.send(LogsEnd(warnings=tuple(warnings)))


def _candidates(view: View, selector: LogSelector) -> Iterable[Task]:
    for task_id in selector.task_ids:
        if (task := view.tasks.get(task_id)) is not None:
            yield task
    for service_id in selector.service_ids:
        yield from view.tasks.find("service_id", service_id)


async def _next(batches: AsyncIterator[tuple[LogMessage, ...]]) -> tuple[LogMessage, ...] | None:
    return await anext(batches, None)


async def _until_closed(stream: Stream[LogsEnd]) -> None:
    """The reader never sends; what ends this is that it goes away."""
    try:
        await stream.receive()
    except (SwarmError, ConnectionError):
        return
