"""The dispatcher's end of one agent session: what goes out, in order, and what comes in.

Two sides send: answers go out as they come (`tell`), assignments as a diff that is computed when it is sent,
so that a slow agent gets one diff of everything that happened meanwhile instead of a queue of old ones.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from manager.dispatcher.assignments import NodeAssignments
from manager.dispatcher.endpoints import EndpointTables
from manager.dispatcher.network_streams import NetworkStream
from manager.store.tables import View
from swarmcore.aio import Tasks
from swarmcore.clock import Clock
from swarmcore.errors import Unavailable
from swarmcore.model.task import Task
from swarmcore.rpc.messages.networks import NetworksApplied
from swarmcore.rpc.messages.session import (
    Acknowledged,
    Assignments,
    DescriptionUpdate,
    Heartbeat,
    SessionEnd,
    SessionInfo,
    StatusReports,
    ToAgent,
    ToDispatcher,
)

log = logging.getLogger(__name__)

# The first change of a quiet session goes at once; a burst behind it shares messages.
COALESCE = 0.015
PARTING = 0.5
MAX_OUTBOX = 10_000
MAX_UNWRITTEN = 200_000


class AgentStream(Protocol):
    """What a session needs of `swarmcore.rpc`'s stream."""

    async def send(self, message: ToAgent, /) -> None: ...

    async def receive(self) -> ToDispatcher: ...


class Callbacks(Protocol):
    """What a session asks of the dispatcher."""

    def view(self) -> View:
        """The newest state; `tables` and what is withheld agree with it."""
        ...

    def session_info(self, session: Session) -> SessionInfo | None:
        """None: the node is gone."""
        ...

    @property
    def tables(self) -> EndpointTables: ...

    def withholds(self, task: Task) -> bool:
        """Whether the task shall stop, but its agent must not hear of it yet."""
        ...

    def withholds_removal(self, task_id: str) -> bool:
        """The same of a task that is not in the store any more."""
        ...

    def networks_applied(self, session: Session) -> None: ...

    def heard(self, session: Session) -> None: ...

    def reported(self, session: Session, message: StatusReports) -> asyncio.Future[bool]:
        """Done when they are committed; False if some could not be written."""
        ...

    def described(self, session: Session, message: DescriptionUpdate) -> None: ...


class Session:
    """`run` returns the reason for which the session ended; `end` makes it end from outside."""

    def __init__(
        self, node_id: str, session_id: str, stream: AgentStream, dispatcher: Callbacks, clock: Clock
    ) -> None:
        self.node_id = node_id
        self.session_id = session_id
        self._stream = stream
        self._dispatcher = dispatcher
        self._clock = clock
        self._assignments = NodeAssignments(node_id, dispatcher.withholds, dispatcher.withholds_removal)
        self._networks = NetworkStream(node_id)
        self._outbox: deque[ToAgent] = deque()
        self._outbox_filled = asyncio.Event()
        self._unwritten = 0  # reports that wait to be committed
        self._info_sent: SessionInfo | None = None
        self._dirty: dict[str, None] | None = None  # None: anything may have changed
        self._dirt = asyncio.Event()
        self._ended: asyncio.Future[SessionEnd] = asyncio.get_running_loop().create_future()

    # -- what the dispatcher tells the session -----------------------------------------------------

    def tell(self, message: ToAgent) -> None:
        if len(self._outbox) >= MAX_OUTBOX:
            self.end("the agent does not read")
            return
        self._outbox.append(message)
        self._outbox_filled.set()

    def task_changed(self, task_id: str) -> None:
        if self._dirty is not None:
            self._dirty[task_id] = None
        self._dirt.set()

    def anything_changed(self) -> None:
        """The watch lagged: compare everything."""
        self._dirty = None
        self._dirt.set()

    def networks_changed(self, network_ids: Iterable[str]) -> None:
        """The tables of these networks have changed."""
        if self._networks.concerned(network_ids, self._dispatcher.tables):
            self._dirt.set()

    def networks_needed(self, network_ids: Iterable[str]) -> int:
        """The number of the update with which this node knows all of these networks; 0 if it holds none."""
        return self._networks.needed(network_ids, self._dispatcher.tables)

    @property
    def confirmed_networks(self) -> int:
        return self._networks.confirmed

    def info_changed(self) -> None:
        info = self._dispatcher.session_info(self)
        if info is not None and info != self._info_sent:
            self._info_sent = info
            self.tell(info)

    def end(self, reason: str, *, forbidden: bool = False) -> None:
        if not self._ended.done():
            self._ended.set_result(SessionEnd(reason=reason, forbidden=forbidden))

    @property
    def ended(self) -> bool:
        return self._ended.done()

    # -- the session's life ------------------------------------------------------------------------

    async def run(self) -> str:
        tasks = Tasks()
        try:
            parts = [
                tasks.start(self._guard(part), f"{part.__name__} of session {self.session_id}")
                for part in (self._receive, self._send_outbox, self._send_assignments)
            ]
            waited: list[asyncio.Future[Any]] = [self._ended, *parts]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await tasks.close()
        end = self._ended.result()
        await self._part(end)
        return end.reason

    async def _guard(self, part: Callable[[], Awaitable[None]]) -> None:
        """A broken stream is a normal end of a session; everything else is a fault and stays one."""
        try:
            await part()
        except (Unavailable, ConnectionError) as error:
            self.end(str(error) or "the connection broke")
        except BaseException as error:
            self.end(f"{type(error).__name__}: {error}")
            raise

    async def _part(self, end: SessionEnd) -> None:
        """Tell the agent why, if it still listens; never wait long for one that does not."""
        try:
            async with asyncio.timeout(PARTING):
                await self._stream.send(end)
        except (TimeoutError, Unavailable, ConnectionError):
            log.debug("agent not told of the session's end", extra={"node": self.node_id})

    async def _receive(self) -> None:
        while True:
            message = await self._stream.receive()
            if self.ended:
                return  # fenced: a newer session has taken over
            self._dispatcher.heard(self)
            match message:
                case Heartbeat():
                    self.tell(Heartbeat(time=self._clock.now().timestamp()))
                case StatusReports():
                    self._take_reports(message)
                case DescriptionUpdate():
                    self._dispatcher.described(self, message)
                case NetworksApplied():
                    number = min(message.number, self._networks.sent)
                    self._networks.confirmed = max(self._networks.confirmed, number)
                    self._dispatcher.networks_applied(self)

    def _take_reports(self, message: StatusReports) -> None:
        count = len(message.reports)
        self._unwritten += count
        if self._unwritten > MAX_UNWRITTEN:
            self.end("the agent reports more than can be written")
            return

        def done(future: asyncio.Future[bool]) -> None:
            self._unwritten -= count
            if future.cancelled() or self.ended:
                return
            if future.result():
                self.tell(Acknowledged(number=message.number))
            else:
                self.end("a report of the agent cannot be written: see the leader's log")

        self._dispatcher.reported(self, message).add_done_callback(done)

    async def _send_outbox(self) -> None:
        while True:
            while self._outbox:
                await self._stream.send(self._outbox.popleft())
            self._outbox_filled.clear()
            await self._outbox_filled.wait()

    async def _send_assignments(self) -> None:
        view = self._dispatcher.view()
        self._dirty = {}
        await self._send(view, self._assignments.full(view))
        while True:
            await self._dirt.wait()
            view = self._dispatcher.view()  # first: it may make more dirty
            self._dirt.clear()
            dirty, self._dirty = self._dirty, {}
            if dirty is None or dirty:
                self._networks.tasks_changed(dirty)
            await self._send(view, self._assignments.changes(view, dirty))
            await self._clock.sleep(COALESCE)

    async def _send(self, view: View, assignments: Iterable[Assignments | None]) -> None:
        """A network comes before the first task that needs it: the tables are of this view or newer."""
        for update in self._networks.updates(view, self._dispatcher.tables):
            await self._stream.send(update)
        for message in assignments:
            if message is None:
                await asyncio.sleep(0)
            else:
                await self._stream.send(message)
