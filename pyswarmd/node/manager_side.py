"""What makes a node a manager: store, raft, and every conversation that managers serve, wired together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from random import Random

from manager.checks.conversation import NetworkChecks
from manager.control.control import Control
from manager.control.proxy import ControlProxy
from manager.dispatcher.attachment_requests import AttachmentServer
from manager.dispatcher.dispatcher import Dispatcher
from manager.leader import Leader
from manager.logs.broker import LogBroker
from manager.manager import Manager
from manager.membership.bootstrap import NewSwarm, seed
from manager.membership.ca_server import Admission, CAServer
from manager.membership.key_manager import KeyManager
from manager.membership.left_behind import leave_behind
from manager.membership.members import Members
from manager.membership.reach import Reach
from manager.membership.role_manager import RoleManager
from manager.raft.node import RaftNode
from manager.raft.open import forget_raft, open_raft
from manager.raft.recovery import Recovery
from manager.store.store import Store
from manager.store.tables import View
from manager.store.watch import Lagged
from pki.contexts import Contexts
from pki.identity import Identity
from pki.seal import DataKeyFile
from pyswarmd.config import Settings
from pyswarmd.node.membership import LocalState, split
from swarmcore.aio import Backoff, Tasks, supervise
from swarmcore.clock import AgreedClock
from swarmcore.errors import NoLeader, SwarmError, Unavailable
from swarmcore.ids import new_id
from swarmcore.model.cluster import Cluster
from swarmcore.model.generation import FIRST
from swarmcore.model.node import Node as NodeObject
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.check import NetworkReport
from swarmcore.rpc.messages.control import ControlReply, ControlRequest
from swarmcore.rpc.messages.logs import LogMessage, LogOptions, LogSelector
from swarmcore.rpc.messages.members import JoinRaft, LeaveRaft, MembersReply, ReadIndex, ReadIndexReply
from swarmcore.rpc.messages.raft import AskGeneration, GenerationReply
from swarmcore.rpc.server import RpcServer

log = logging.getLogger(__name__)
JOIN_PATIENCE = 20.0  # seconds a manager waits for its place in raft, as Docker's join does
_AGAIN = 0.3


class ManagerSide:
    """`start` returns when this manager has its place in raft and has applied what the swarm holds."""

    def __init__(
        self,
        *,
        settings: Settings,
        node_id: str,
        local: LocalState,
        contexts: Contexts,
        identify: Callable[[bytes], Identity],
        client: RpcClient,
        clock: AgreedClock,
        on_fatal: Callable[[Exception], None],
        faults: Faults | None = None,
        cluster_id: str = "",
        on_superseded: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._faults = faults or Faults()
        self._settings, self._node_id, self._local = settings, node_id, local
        self._cluster_id, self._on_superseded = cluster_id, on_superseded
        self._contexts, self._client, self._clock = contexts, client, clock
        self._on_fatal = on_fatal
        self._tasks = Tasks(on_failure=lambda _, error: on_fatal(Unavailable(str(error))))
        self.store = Store(clock)
        self._server = RpcServer(identify, Admission(self.store, clock))
        self._raft: RaftNode | None = None
        self._control: ControlProxy | None = None
        self._logs: LogBroker | None = None
        self._checks: NetworkChecks | None = None
        self._manager: Manager | None = None

    @property
    def raft(self) -> RaftNode:
        assert self._raft is not None, "the manager is not started"
        return self._raft

    # -- life --------------------------------------------------------------------------------------
    async def start(
        self, swarm: NewSwarm | None, remotes: Sequence[str], *, force_new_cluster: bool = False
    ) -> None:
        keys = DataKeyFile(self._settings.certificates).load_or_create()
        recovery = None
        if force_new_cluster:
            recovery = Recovery(address=self._local.advertise, generation_id=new_id(), now=self._clock.now())
        self._raft = await open_raft(
            self._settings.raft_dir,
            keys,
            self._node_id,
            self.store,
            server=self._server,
            client=self._client,
            ask_leader=self._ask_leader,
            on_fatal=self._on_fatal,
            bootstrap={self._node_id: self._local.advertise} if swarm is not None else None,
            recovery=recovery,
            cluster=self._cluster_id,
            clock=self._clock,
            on_superseded=self._on_superseded,
        )
        self.store.attach(self._raft)
        self._serve()
        host, port = split(self._local.listen)
        try:
            await self._server.start(host, port, self._contexts.server)
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {self._local.listen}: {error.strerror}",
                "stop what uses the port, or choose another with --listen-addr",
            ) from None
        await self._take_place(swarm, remotes)
        await self._leave_behind()
        assert self._manager is not None
        self._supervised(self._manager.run, "manager")
        self._supervised(self._follow_commits, "commits")
        reach = Reach(self.raft, self._contexts.client_now, self._clock, Random())
        self._supervised(reach.run, "reach of the leader")

    def _supervised(self, run: Callable[[], Awaitable[None]], name: str) -> None:
        async def whilst_raft_runs() -> None:
            try:
                await run()
            except Unavailable:
                if not self.raft.stopped:
                    raise  # else `on_fatal` has heard why

        backoff = Backoff(Random())
        self._tasks.start(supervise(whilst_raft_runs, name, self._clock, backoff, self._faults), name)

    def _serve(self) -> None:
        """Make every component and register what it answers."""
        raft = self.raft
        dispatcher = Dispatcher(self.store, raft, self._clock, new_id)
        leader = Leader(self.store, raft, self._client)
        control = Control(self.store, raft, self._clock)
        self._control = ControlProxy(control, leader, self._clock, new_id)
        self._logs = LogBroker(self.store, leader, dispatcher, self._client, self._clock, new_id)
        self._checks = NetworkChecks(self.store, raft, leader, dispatcher, self._clock, new_id)
        ca = CAServer(self.store, leader, clock=self._clock, new_id=new_id)
        members = Members(self.store, raft, leader)
        attachments = AttachmentServer(control, self.store, leader, self._clock)
        for part in (ca, members, dispatcher, self._control, self._logs, self._checks, attachments):
            part.register(self._server)
        self._manager = Manager(
            self.store,
            raft,
            self._clock,
            loops=(
                lambda: dispatcher,
                lambda: RoleManager(self.store, raft, self._clock),
                lambda: KeyManager(self.store, self._clock),
            ),
        )

    async def _take_place(self, swarm: NewSwarm | None, remotes: Sequence[str]) -> None:
        """First manager: write the first entry. Others: be a raft member, and caught up."""
        if swarm is not None:
            await self._until(lambda: self.raft.is_leader, "this manager to lead")
            await seed(self.store, swarm)
            return
        own = self.raft.members.get(self._node_id)
        if own is None or own.address != self._local.advertise:
            await self._ask_for_place(remotes)
        elif self.store.view().clusters:
            return  # a restart: it goes on with what it has, whether or not others are there
        await self._until(lambda: len(self.store.view().clusters) > 0, "the swarm's state")

    async def _leave_behind(self) -> None:
        """After a recovery, or one that was cut short: the other managers are none any more."""
        generation = self.raft.generation or FIRST
        if generation == FIRST or set(self.raft.members) != {self._node_id}:
            return
        if all(cluster.generation == generation for cluster in self.store.view().clusters):
            return
        await self._until(lambda: self.raft.is_leader, "this manager to lead")
        now = self._clock.now()
        gone = await self.store.transact(lambda tx: leave_behind(tx, {self._node_id}, generation, now))
        log.warning("managers are left behind by the recovery", extra={"nodes": list(gone)})

    async def _ask_for_place(self, remotes: Sequence[str]) -> None:
        last: SwarmError = Unavailable("no manager is known that could take this one in")
        try:
            async with asyncio.timeout(JOIN_PATIENCE):
                while True:
                    for address in remotes:
                        try:
                            await self._join_by(address)
                            return
                        except Unavailable as error:
                            last = error
                    await self._clock.sleep(_AGAIN)
        except TimeoutError:
            raise last from None

    async def _join_by(self, address: str) -> None:
        """Which generation of the swarm it is comes first: the leader sends its log before it answers."""
        reply = await self._client.call(address, AskGeneration(), GenerationReply, timeout=5.0)
        if reply.generation is None:
            raise Unavailable(f"{address} has no place in raft yet either")
        self.raft.join_generation(reply.generation)
        wanted = JoinRaft(address=self._local.advertise)
        await self._client.call(address, wanted, MembersReply, timeout=10.0)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        if not await self.raft.wait_until(condition, JOIN_PATIENCE):
            raise NoLeader(f"waited {JOIN_PATIENCE:.0f} s for {what} in vain")

    async def _ask_leader(self, address: str) -> int:
        return (await self._client.call(address, ReadIndex(), ReadIndexReply, timeout=2.0)).index

    async def _follow_commits(self) -> None:
        """A removed node loses its streams at once, not at its next message; new settings count at once."""
        while True:
            try:
                with self.store.view_and_watch(kinds=frozenset({NodeObject, Cluster})) as (view, feed):
                    for cluster in view.clusters:
                        self._settings_are(cluster)
                    while True:
                        for change in (await feed.get()).changes:
                            if change.kind == "remove" and isinstance(change.old, NodeObject):
                                self._server.drop(change.old.id)
                            elif isinstance(change.new, Cluster):
                                self._settings_are(change.new)
            except Lagged:
                log.info("the watch of commits starts again")

    def _settings_are(self, cluster: Cluster) -> None:
        if (interval := cluster.spec.raft.snapshot_interval) > 0:
            self.raft.snapshot_every(interval)

    async def retire(self) -> None:
        """Give up the place in raft, handing the lead over first; alone there is nobody to tell."""
        others = [m.address for m in self.raft.members.values() if m.node_id != self._node_id]
        if not others:
            return
        if self.raft.is_leader:
            await self.raft.transfer_lead()
        last: SwarmError = Unavailable("no other manager answers")
        for address in others:
            try:
                await self._client.call(address, LeaveRaft(), MembersReply, timeout=15.0)
                return
            except SwarmError as error:
                last = error
        raise last

    async def close(self) -> None:
        await self._tasks.close()
        if self._logs is not None:
            await self._logs.close()
        await self._server.close()
        if self._raft is not None:
            await self._raft.close()

    def forget(self) -> None:
        """This node is no manager any more: its copy of the swarm's state goes."""
        key_file = DataKeyFile(self._settings.certificates)
        forget_raft(self._settings.raft_dir, key_file.load_or_create())
        key_file.remove()

    # -- for the API -------------------------------------------------------------------------------
    async def read(self) -> View:
        await self.raft.read_barrier()
        return self.store.view()

    async def control(self, request: ControlRequest) -> ControlReply:
        assert self._control is not None
        return await self._control.carry_out(request)

    def logs(self, selector: LogSelector, options: LogOptions) -> AsyncGenerator[LogMessage, None]:
        assert self._logs is not None
        return self._logs.logs(selector, options)

    async def check_network(self, network_id: str) -> NetworkReport:
        assert self._checks is not None
        return await self._checks.check(network_id)
