"""What makes a node a manager, from the place it takes in raft to the day it gives that up."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from random import Random

from manager.membership.bootstrap import NewSwarm
from manager.membership.ca_server import Admission
from manager.membership.reach import Reach
from manager.raft.node import RaftNode
from manager.raft.open import forget_raft, open_raft
from manager.raft.recovery import Recovery
from manager.store.store import Store
from manager.store.watch import Lagged
from pki.seal import DataKeyFile
from pyswarmd.node.manager_parts import ManagerParts, wired
from pyswarmd.node.membership import LocalState
from pyswarmd.node.place_in_raft import PlaceInRaft
from pyswarmd.node.shared import Shared
from swarmcore.addresses import split
from swarmcore.aio import Backoff, Tasks, supervise
from swarmcore.errors import Unavailable
from swarmcore.ids import new_id
from swarmcore.model.cluster import Cluster
from swarmcore.model.node import Node as NodeObject
from swarmcore.rpc.messages.members import ReadIndex, ReadIndexReply
from swarmcore.rpc.server import RpcServer

log = logging.getLogger(__name__)


class ManagerSide:
    """`start` returns when this manager has its place in raft and has applied what the swarm holds."""

    def __init__(
        self,
        shared: Shared,
        local: LocalState,
        *,
        on_fatal: Callable[[Exception], None],
        on_superseded: Callable[[str], None],
    ) -> None:
        self._settings, self._local = shared.settings, local
        self._node_id, self._cluster_id = shared.keystore.node_id, shared.keystore.cluster_id
        self._contexts, self._client, self._clock = shared.contexts, shared.client, shared.clock
        self._faults = shared.faults
        self._on_fatal, self._on_superseded = on_fatal, on_superseded
        self._tasks = Tasks(on_failure=lambda _, error: on_fatal(Unavailable(str(error))))
        self._store = Store(shared.clock)
        self._server = RpcServer(shared.identify, Admission(self._store, shared.clock))
        self._raft: RaftNode | None = None
        self._parts: ManagerParts | None = None

    @property
    def parts(self) -> ManagerParts:
        assert self._parts is not None, "the manager is not started"
        return self._parts

    async def start(
        self, swarm: NewSwarm | None, remotes: Sequence[str], *, force_new_cluster: bool = False
    ) -> None:
        """`swarm` when this node has just made it; else `remotes` are the managers that may take this one in."""
        raft = self._raft = await self._open_raft(swarm, force_new_cluster=force_new_cluster)
        self._store.attach(raft)
        parts = self._parts = wired(self._store, raft, self._server, self._client, self._clock)
        await self._listen()
        place = self._place(raft)
        await place.obtain(swarm, remotes)
        await place.leave_others_behind()
        self._supervised(parts.loops.run, "manager")
        self._supervised(self._follow_commits, "commits")
        reach = Reach(raft, self._contexts.client_now, self._clock, Random())
        self._supervised(reach.run, "reach of the leader")

    async def _open_raft(self, swarm: NewSwarm | None, *, force_new_cluster: bool) -> RaftNode:
        keys = DataKeyFile(self._settings.certificates).load_or_create()
        recovery = None
        if force_new_cluster:
            recovery = Recovery(address=self._local.advertise, generation_id=new_id(), now=self._clock.now())
        return await open_raft(
            self._settings.raft_dir,
            keys,
            self._node_id,
            self._store,
            server=self._server,
            client=self._client,
            ask_leader=self._ask_leader,
            on_fatal=self._on_fatal,
            bootstrap={self._node_id: self._local.advertise} if swarm is not None else None,
            recovery=recovery,
            cluster=self._cluster_id,
            clock=self._clock,
            on_superseded=self._on_superseded,
            faults=self._faults,
        )

    async def _ask_leader(self, address: str) -> int:
        return (await self._client.call(address, ReadIndex(), ReadIndexReply, timeout=2.0)).index

    async def _listen(self) -> None:
        host, port = split(self._local.listen)
        try:
            await self._server.start(host, port, self._contexts.server)
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {self._local.listen}: {error.strerror}",
                "stop what uses the port, or choose another with --listen-addr",
            ) from None

    def _place(self, raft: RaftNode) -> PlaceInRaft:
        return PlaceInRaft(raft, self._store, self._client, self._clock, self._local.advertise)

    def _supervised(self, run: Callable[[], Awaitable[None]], name: str) -> None:
        async def whilst_raft_runs() -> None:
            try:
                await run()
            except Unavailable:
                if not self.parts.raft.stopped:
                    raise  # else `on_fatal` has heard why

        backoff = Backoff(Random())
        self._tasks.start(supervise(whilst_raft_runs, name, self._clock, backoff, self._faults), name)

    async def _follow_commits(self) -> None:
        """A removed node loses its streams at once, not at its next message; new settings count at once."""
        while True:
            try:
                with self._store.view_and_watch(kinds=frozenset({NodeObject, Cluster})) as (view, feed):
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
            self.parts.raft.snapshot_every(interval)

    async def retire(self) -> None:
        """Give up the place in raft, handing the lead over first; raises if no other manager agrees."""
        await self._place(self.parts.raft).give_up()

    async def close(self) -> None:
        await self._tasks.close()
        await self._server.close()
        if self._raft is not None:
            await self._raft.close()

    def forget(self) -> None:
        """This node is no manager any more: its copy of the swarm's state goes."""
        key_file = DataKeyFile(self._settings.certificates)
        forget_raft(self._settings.raft_dir, key_file.load_or_create())
        key_file.remove()
