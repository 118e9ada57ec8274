"""One session with the leader, from the agent's side: open, follow the numbered assignments, beat, report.

`run` ends only by an error; every error means "open another session". Silence of three heartbeats counts as
a broken connection, because a dead host closes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from random import Random
from typing import Protocol

from swarmcore.aio import TaskGroup
from swarmcore.clock import Clock, jitter
from swarmcore.errors import Forbidden, Unavailable
from swarmcore.model.node import NodeDescription
from swarmcore.process.faults import Faults
from swarmcore.rpc.messages.check import CheckStep, EndCheck, PreparePeer, ProbePeers
from swarmcore.rpc.messages.logs import SubscribeLogs, UnsubscribeLogs
from swarmcore.rpc.messages.networks import NetworksApplied, NetworkUpdate
from swarmcore.rpc.messages.session import (
    Acknowledged,
    Assignments,
    DescriptionUpdate,
    Heartbeat,
    OpenSession,
    Redirect,
    SessionEnd,
    SessionInfo,
    ToAgent,
    ToDispatcher,
    joined,
)
from worker.agent.reporter import Reporter
from worker.tasks.assignments import Sequence

log = logging.getLogger(__name__)

ANSWER_TIMEOUT = 3.0
SILENT_BEATS = 3
JITTER = 0.1


class DispatcherStream(Protocol):
    """What the agent needs of `swarmcore.rpc`'s stream."""

    async def send(self, message: ToDispatcher, /) -> None: ...

    async def receive(self) -> ToAgent: ...


Connect = Callable[[str, OpenSession], AbstractAsyncContextManager[DispatcherStream]]


class Redirected(Exception):
    """Not a fault: another manager leads (`address`), or nobody yet (None)."""

    def __init__(self, address: str | None) -> None:
        super().__init__(address)
        self.address = address


class Removed(Forbidden):
    """The swarm does not know this node any more."""


class Listener(Protocol):
    """What the agent does with what a session brings."""

    async def opened(self, info: SessionInfo) -> None: ...

    async def info_changed(self, info: SessionInfo) -> None: ...

    async def assigned(self, message: Assignments) -> None: ...

    def told_of_networks(self, update: NetworkUpdate) -> None:
        """One part; what comes of it is in force when `networks_applied` says so."""
        ...

    async def networks_applied(self) -> int:
        """Return the number of an update once this host agrees with it; a larger one each time."""
        ...

    def subscribed(self, message: SubscribeLogs) -> None: ...

    def unsubscribed(self, message: UnsubscribeLogs) -> None: ...

    def checking(self, message: CheckStep) -> None: ...

    def time_is(self, time: float) -> None:
        """The leader's, in seconds since 1970; it comes with every heartbeat."""
        ...


class Session:
    def __init__(
        self,
        stream: DispatcherStream,
        *,
        reporter: Reporter,
        listener: Listener,
        describe: Callable[[], Awaitable[NodeDescription]],
        described: NodeDescription,
        describe_period: float,
        clock: Clock,
        random: Random,
        faults: Faults | None = None,
    ) -> None:
        self._stream = stream
        self._faults = faults or Faults()
        self._reporter = reporter
        self._listener = listener
        self._describe = describe
        self._described = described
        self._describe_period = describe_period
        self._clock = clock
        self._random = random
        self._period = 1.0
        self._other_period = asyncio.Event()
        self._heard = clock.monotonic()
        self._sequence = Sequence("assignment")
        self._parts: list[Assignments] = []
        self._network_sequence = Sequence("network update")

    async def run(self) -> None:
        """Raises Redirected, Removed, or Unavailable with the reason for which the session ended."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            first = await self._stream.receive()
        match first:
            case Redirect():
                raise Redirected(first.leader.address if first.leader is not None else None)
            case SessionEnd():
                raise _ended(first)
            case SessionInfo():
                self._period = first.heartbeat_period / 1e9
            case _:
                raise Unavailable(f"the manager began the session with {type(first).__name__}")
        self._heard = self._clock.monotonic()
        await self._listener.opened(first)
        try:
            async with TaskGroup() as group:
                group.create_task(self._receive(), name="session receive")
                group.create_task(self._beat(), name="session heartbeat")
                group.create_task(self._reporter.run(self._stream.send), name="session reports")
                group.create_task(self._redescribe(), name="session description")
                group.create_task(self._confirm_networks(), name="session networks")
        except BaseExceptionGroup as group_error:
            # The first failure ended the session; the others are its echo, unless one is a fault of ours.
            raise _most_telling(group_error) from group_error

    async def _receive(self) -> None:
        while True:
            message = await self._stream.receive()
            self._heard = self._clock.monotonic()
            match message:
                case Assignments():
                    await self._assign(message)
                case NetworkUpdate():
                    self._network_sequence.accept(message)
                    self._listener.told_of_networks(message)
                case Acknowledged():
                    self._reporter.acknowledge(message.number)
                case SessionInfo():
                    self._follow_period(message.heartbeat_period / 1e9)
                    await self._listener.info_changed(message)
                case SubscribeLogs():
                    self._listener.subscribed(message)
                case UnsubscribeLogs():
                    self._listener.unsubscribed(message)
                case PreparePeer() | ProbePeers() | EndCheck():
                    self._listener.checking(message)
                case Heartbeat():
                    self._listener.time_is(message.time)
                case SessionEnd():
                    raise _ended(message)

    async def _assign(self, message: Assignments) -> None:
        self._sequence.accept(message)
        self._parts.append(message)
        if not message.more:
            whole = joined(self._parts)
            self._parts = []
            await self._listener.assigned(whole)

    async def _confirm_networks(self) -> None:
        while True:
            await self._stream.send(NetworksApplied(number=await self._listener.networks_applied()))

    def _follow_period(self, period: float) -> None:
        if period != self._period:
            self._period = period
            self._other_period.set()

    async def _beat(self) -> None:
        while True:
            # The leader counts in the new period as soon as it is set: a beat of the old one would come too late.
            with suppress(TimeoutError):
                async with asyncio.timeout(jitter(self._random, self._period, JITTER)):
                    await self._other_period.wait()
            self._other_period.clear()
            if self._clock.monotonic() - self._heard > SILENT_BEATS * self._period * (1 + JITTER):
                raise Unavailable("the leader does not answer")
            await self._stream.send(Heartbeat())

    async def _redescribe(self) -> None:
        """Now and then, and at once when a part of the daemon fails or recovers."""
        news = asyncio.Event()
        stop = self._faults.listen(news.set)
        if self._faults.text != self._described.fault:
            news.set()
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._describe_period):
                        await news.wait()
                news.clear()
                description = await self._describe()
                if description != self._described:
                    self._described = description
                    await self._stream.send(DescriptionUpdate(description=description))
        finally:
            stop()


def _ended(message: SessionEnd) -> Unavailable | Removed:
    return Removed(message.reason) if message.forbidden else Unavailable(message.reason)


def _most_telling(group: BaseExceptionGroup[BaseException]) -> BaseException:
    leaves: list[BaseException] = []
    for error in group.exceptions:
        leaves.append(_most_telling(error) if isinstance(error, BaseExceptionGroup) else error)
    faults = [error for error in leaves if not isinstance(error, Unavailable | ConnectionError)]
    return (faults or leaves)[0]
