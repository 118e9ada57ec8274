"""Collects service logs: asks the agents of the tasks through their sessions, merges what they publish.

Only the leader has sessions, so a follower streams from the leader. What cannot be had (a node is down, a
stream breaks) ends the logs with one warning instead of an error: the rest is still worth reading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing

from manager.agents.conversations import AgentLink, Conversations
from manager.leader import Leader
from manager.logs.pieces import pieces
from manager.logs.subscription import Subscription
from manager.store.store import Store
from manager.store.tables import View
from manager.store.watch import Lagged
from swarmcore.aio import Tasks, owned
from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, SwarmError, Unavailable
from swarmcore.ids import NewId
from swarmcore.model.node import NodeRole
from swarmcore.model.task import Task
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
)
from swarmcore.rpc.server import Peer, RpcServer
from swarmcore.rpc.stream import Stream

OPENING_TIMEOUT = 10.0  # seconds
INCOMPLETE = "warning: incomplete log stream. some logs could not be retrieved for the following reasons: "


class LogBroker:
    """`logs` works on every manager; `serve_*` are registered on every manager and answer on the leader."""

    def __init__(
        self,
        store: Store,
        leader: Leader,
        link: AgentLink,
        client: RpcClient,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._store = store
        self._leader = leader
        self._link = link
        self._client = client
        self._clock = clock
        self._subscriptions = Conversations[Subscription](
            link, new_id, over="nobody reads these logs any more"
        )

    def register(self, server: RpcServer) -> None:
        server.stream(PublishLogs, self.serve_publisher, roles=frozenset(NodeRole), incoming=FromPublisher)
        server.stream(LogsRequest, self.serve_follower, roles=frozenset({NodeRole.MANAGER}), incoming=LogsEnd)

    def unregister(self, server: RpcServer) -> None:
        server.unregister(PublishLogs)
        server.unregister(LogsRequest)

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
        with self._subscriptions.begun(
            lambda new: Subscription(new, selector, options, self._link)
        ) as subscription:
            try:
                accompany = self._accompany(subscription, options)
                async with owned(accompany, f"logs {subscription.id}") as companion:
                    # Nothing is owed before the first question is asked.
                    subscription.ask(_candidates(self._store.view(), selector))
                    async for batch in subscription.batches():
                        yield batch
                        if companion.done() and options.follow:
                            raise NoLeader("this manager stopped watching the tasks")
            finally:
                warnings.extend(subscription.warnings)
                subscription.close()

    async def _accompany(self, subscription: Subscription, options: LogOptions) -> None:
        """Beside the reader: new tasks while following, otherwise an end to waiting."""
        if not options.follow:
            await self._clock.sleep(OPENING_TIMEOUT)
            subscription.give_up_unopened()
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

    # -- routes -------------------------------------------------------------------------------------

    async def serve_publisher(self, peer: Peer, opening: PublishLogs, stream: Stream[FromPublisher]) -> None:
        subscription = self._subscriptions.find(opening.subscription_id)
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
