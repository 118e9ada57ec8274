"""The worker's side of the swarm: keeps one session with the leader and this node's tasks as assigned.

Without a manager nothing stops: tasks run on, statuses wait. A restarted agent knows its tasks and the
managers from its database, adopts what runs, and reports once a leader is found.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from swarmcore.aio import Backoff
from swarmcore.clock import Clock
from swarmcore.errors import Forbidden, SwarmError, Unauthenticated, Unavailable
from swarmcore.model.node import Node, NodeDescription
from swarmcore.process.faults import Faults, one_line
from swarmcore.rpc.messages.check import CheckStep, PeerReady, ProbeReport
from swarmcore.rpc.messages.logs import LogsEnd, PublishLogs, SubscribeLogs, UnsubscribeLogs
from swarmcore.rpc.messages.networks import NetworkUpdate
from swarmcore.rpc.messages.session import Assignments, ManagerAddress, OpenSession, SessionInfo, ToAgent
from swarmcore.rpc.peers import Remotes
from worker.agent.log_publisher import LogPublisher, PublishStream
from worker.agent.reporter import Reporter
from worker.agent.session import ANSWER_TIMEOUT, DispatcherStream, Redirected, Session
from worker.checks.checker import CALL_TIMEOUT, NetworkChecker
from worker.networks.feed import NetworkFeed, Networks
from worker.tasks.assignments import AssignedTasks
from worker.tasks.controller import Executor
from worker.tasks.state_db import StateDb

log = logging.getLogger(__name__)

DESCRIBE_PERIOD = 20.0
# A new leader gives every node four heartbeats to appear: after a long time without a leader, two attempts
# must fit, and one address that swallows packets must not use it up.
RETRY_LIMIT = 1.5
CONNECT_TIMEOUT = 2.0
_DESCRIPTION = "description of this node"


class Client(Protocol):
    """What the agent needs of `swarmcore.rpc`'s client."""

    def stream(
        self, address: str, opening: Struct, *, incoming: Any = None, timeout: float = 5.0
    ) -> AbstractAsyncContextManager[Any]: ...

    async def call(self, address: str, request: Struct, reply: None, *, timeout: float = 5.0) -> None: ...


class Notify(Struct, frozen=True, kw_only=True):
    """Who hears what sessions bring. None of them may block: they start something.

    `node`: the Node object, whenever a session opens or it changes (the daemon renews its certificate when the role
    differs). `root`: the trusted root bundle. `managers`: all of them. `removed`: that the swarm refuses this node (it
    was removed, or its certificate counts no more), and why. `time`: the managers' clock.
    """

    node: Callable[[Node], None]
    root: Callable[[bytes], None]
    managers: Callable[[tuple[ManagerAddress, ...]], None]
    removed: Callable[[str], None]
    time: Callable[[float], None] = lambda time: None


class Agent:
    """`run` for as long as this node belongs to a swarm; `close` afterwards, containers go on. `run` may be repeated.

    `describe_period` is the time in seconds between two looks at this node.
    """

    def __init__(
        self,
        *,
        client: Client,
        remotes: Remotes,
        executor: Executor,
        db: StateDb,
        describe: Callable[[], Awaitable[NodeDescription]],
        clock: Clock,
        random: Random,
        notify: Notify,
        networks: Networks | None = None,
        checker: NetworkChecker | None = None,
        describe_period: float = DESCRIBE_PERIOD,
        faults: Faults | None = None,
    ) -> None:
        self._client, self._remotes, self._db, self._notify = client, remotes, db, notify
        self._describe, self._describe_period = describe, describe_period
        self._clock, self._random, self._faults = clock, random, faults or Faults()
        self._description: NodeDescription | None = None
        self._backoff = Backoff(random, limit=RETRY_LIMIT)
        self._leader: str | None = None  # whom the session is, or may come to be, with
        self._connected, self._node_id = False, ""
        self._failed: tuple[str, ...] = ()  # whom not to ask next, if there is any other
        self._goto: str | None = None  # whom a manager named as the leader
        self._info: SessionInfo | None = None
        self._reporter = Reporter(clock)
        self._networks, self._checker = NetworkFeed(networks, clock), checker
        self._tasks = AssignedTasks(
            executor=executor,
            db=db,
            reporter=self._reporter,
            description=lambda: self._description,
            clock=clock,
            random=random,
            faults=self._faults,
        )
        self._publisher = LogPublisher(
            connect=self._connect_logs, executor=executor, find_task=self._tasks.get
        )

    @property
    def tasks(self) -> AssignedTasks:
        return self._tasks

    @property
    def connected(self) -> bool:
        """Whether a session with a leader is open."""
        return self._connected

    async def run(self) -> None:
        if not self._db.is_open:
            await self._db.open()
        await self._described()
        for manager in self._db.managers:
            self._remotes.observe(manager.address, up=True)
        await self._tasks.restore()
        while not self._remotes.addresses:
            log.warning("no manager's address is known")
            await self._clock.sleep(self._backoff.next())
        while True:
            address = self._goto or self._remotes.choose(self._failed)
            await self._one_session(address)
            if self._goto is None or self._goto == address:
                self._goto = None
                await self._clock.sleep(self._backoff.next())

    async def _described(self) -> NodeDescription:
        """This node as it is; where that cannot be told now, as it was told last."""
        try:
            self._description = await self._describe()
        except (SwarmError, OSError) as error:
            if self._faults.failed(_DESCRIPTION, error):
                log.warning("cannot describe this node", extra={"reason": one_line(error)})
            if self._description is None:
                raise
            self._description = replace(self._description, fault=self._faults.text)
        else:
            self._faults.over(_DESCRIPTION)
        return self._description

    async def _one_session(self, address: str) -> None:
        """Ends with the session; leaves in `_goto` whom to ask next, if that is known."""
        goto, self._goto = self._goto, None
        self._failed = ()
        try:
            opening = OpenSession(description=await self._described())
            async with self._client.stream(
                address, opening, incoming=ToAgent, timeout=CONNECT_TIMEOUT
            ) as stream:
                await self._session(address, stream)
        except Redirected as redirected:
            self._remotes.observe(address, up=True)
            # Two managers that name each other must not make us spin: after a hop we wait.
            if goto is None:
                self._goto = redirected.address
        except (Forbidden, Unauthenticated) as error:
            log.warning("the swarm refuses this node", extra={"reason": str(error)})
            self._notify.removed(str(error))
        except (SwarmError, OSError) as error:
            self._remotes.observe(address, up=False)
            self._failed = (address,)
            # A lost leader is daily life; anything else (a full disk) somebody should look at.
            daily = isinstance(error, Unavailable | TimeoutError | ConnectionError)
            log.log(
                logging.INFO if daily else logging.WARNING,
                "session ended",
                extra={"manager": address, "reason": str(error) or type(error).__name__},
            )
        finally:
            self._leader = None
            self._connected = False
            self._publisher.stop_all()
            if self._checker is not None:
                self._checker.stop_all()

    async def _session(self, address: str, stream: DispatcherStream) -> None:
        assert self._description is not None
        self._leader = address
        session = Session(
            stream,
            reporter=self._reporter,
            listener=self,
            describe=self._described,
            described=self._description,
            describe_period=self._describe_period,
            faults=self._faults,
            clock=self._clock,
            random=self._random,
        )
        await session.run()

    # -- what a session brings (session.Listener) ---------------------------------------------------

    async def opened(self, info: SessionInfo) -> None:
        assert self._leader is not None
        self._connected = True
        log.info("session opened", extra={"manager": self._leader, "session": info.session_id})
        self._remotes.observe(self._leader, up=True)
        self._backoff.reset()
        self._reporter.start_over(self._tasks.statuses)
        self._networks.start_over()
        self._info = None
        await self.info_changed(info)

    async def info_changed(self, info: SessionInfo) -> None:
        before, self._info = self._info, info
        self._node_id = info.node.id
        if before is None or before.managers != info.managers:
            self._learn(info.managers)
        if info.root_ca and (before is None or before.root_ca != info.root_ca):
            self._notify.root(info.root_ca)
        if before is None or before.network_keys != info.network_keys:
            self._networks.keys(info.network_keys)
        if before is None or before.node != info.node:
            self._notify.node(info.node)

    def _learn(self, managers: tuple[ManagerAddress, ...]) -> None:
        if not managers:
            return
        self._remotes.managers_are(manager.address for manager in managers)
        self._db.put_managers(managers)
        self._notify.managers(managers)

    async def assigned(self, message: Assignments) -> None:
        await self._tasks.carry_out(message)

    def told_of_networks(self, update: NetworkUpdate) -> None:
        self._networks.told(update)

    async def networks_applied(self) -> int:
        return await self._networks.applied()

    def subscribed(self, message: SubscribeLogs) -> None:
        self._publisher.subscribe(message, self._node_id)

    def unsubscribed(self, message: UnsubscribeLogs) -> None:
        self._publisher.unsubscribe(message.subscription_id)

    def time_is(self, time: float) -> None:
        self._notify.time(time)

    def checking(self, message: CheckStep) -> None:
        """Without networking of its own a host takes no part; the leader says so of it."""
        if self._checker is not None:
            self._checker.told(message, self._node_id, self._tell_leader)

    async def _tell_leader(self, message: PeerReady | ProbeReport) -> None:
        if self._leader is None:
            raise Unavailable("no session with a leader")
        await self._client.call(self._leader, message, None, timeout=CALL_TIMEOUT)

    def _connect_logs(self, opening: PublishLogs) -> AbstractAsyncContextManager[PublishStream]:
        if self._leader is None:
            raise Unavailable("no session with a leader")
        return self._client.stream(self._leader, opening, incoming=LogsEnd, timeout=ANSWER_TIMEOUT)

    async def close(self) -> None:
        await self._publisher.close()
        if self._checker is not None:
            await self._checker.close()
        await self._tasks.close()
        try:
            if self._db.is_open:
                await self._db.flushed()
        except SwarmError as error:
            log.warning("a restart will know less", extra={"reason": str(error)})
        await self._db.close()
