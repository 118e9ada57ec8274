"""Who is there, what each node is told, and what it reports: the leader's side of all agent sessions.

`serve` is registered on every manager; one that does not lead names the leader. `run` is a leader loop:
sessions exist only while it runs. node_lives.py knows which nodes live, statuses.py writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from manager.dispatcher import nodes
from manager.dispatcher.descriptions import Descriptions
from manager.dispatcher.drain import DrainBarrier
from manager.dispatcher.endpoints import EndpointTables
from manager.dispatcher.node_lives import ORPHAN_AFTER, NodeLives
from manager.dispatcher.session import AgentStream, Session
from manager.dispatcher.statuses import StatusChange, Writer
from manager.leader import other_leader
from manager.raft.proposer import Proposer
from manager.rules.reports import checked_description
from manager.store.store import Store
from manager.store.tables import View
from manager.store.watch import Change, Commit, Feed, Lagged
from swarmcore.aio import TaskGroup, Turns, in_turns
from swarmcore.clock import Clock
from swarmcore.errors import Forbidden, Invalid
from swarmcore.ids import NewId
from swarmcore.model.cluster import Cluster, overlay_keys
from swarmcore.model.node import Node, NodeDescription, NodeRole
from swarmcore.model.task import Task
from swarmcore.rpc.messages.session import (
    MAX_FROM_AGENT,
    DescriptionUpdate,
    ManagerAddress,
    OpenSession,
    Redirect,
    SessionEnd,
    SessionInfo,
    StatusReports,
    ToAgent,
    ToDispatcher,
)
from swarmcore.rpc.refusals import Refusals
from swarmcore.rpc.server import Peer, RpcServer
from swarmcore.rpc.stream import Stream

log = logging.getLogger(__name__)

Listener = Callable[[str, bool], None]


class Dispatcher:
    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        clock: Clock,
        new_id: NewId,
        *,
        orphan_after: float = ORPHAN_AFTER,
    ) -> None:
        self._store = store
        self._proposer = proposer
        self._clock = clock
        self._new_id = new_id
        self._leading = False
        self._feed: Feed | None = None  # while leading
        self._sessions: dict[str, Session] = {}
        self._writer = Writer(store, clock)
        self._lives = NodeLives(
            store,
            clock,
            self._writer,
            connected=self.connected,
            silent=self._silent,
            orphan_after=orphan_after,
        )
        self._descriptions = Descriptions(self._writer)
        self._refusals = Refusals(clock)
        self._listeners: list[Listener] = []
        self.tables = EndpointTables()
        self._drain = DrainBarrier(clock, self._may_stop)

    # -- for the rest of the manager ----------------------------------------------------------------

    def register(self, server: RpcServer) -> None:
        server.stream(
            OpenSession,
            self.serve,
            roles=frozenset(NodeRole),
            incoming=ToDispatcher,
            limit=MAX_FROM_AGENT,
        )

    def unregister(self, server: RpcServer) -> None:
        server.unregister(OpenSession)

    def listen(self, listener: Listener) -> None:
        """`listener(node_id, connected)` is called for every session that opens or ends."""
        self._listeners.append(listener)

    def tell(self, node_id: str, message: ToAgent) -> bool:
        """Send to a node's agent; False if it has no session here."""
        if (session := self._sessions.get(node_id)) is None:
            return False
        session.tell(message)
        return True

    def connected(self, node_id: str) -> bool:
        return node_id in self._sessions

    # -- sessions -----------------------------------------------------------------------------------

    async def serve(self, peer: Peer, opening: OpenSession, stream: Stream[ToDispatcher]) -> None:
        """One agent's stream, for as long as its session lives."""
        if not self._leading:
            await stream.send(self._redirect())
            return
        node_id = peer.node_id
        if node_id not in self._store.view().nodes:
            log.warning("session refused, no such node", extra={"node": node_id})
            await stream.send(SessionEnd(reason="this node was removed from the swarm", forbidden=True))
            raise Forbidden(f"node {node_id} was removed from the swarm")
        try:
            description = checked_description(opening.description)
        except Invalid as error:
            # It is not there, so its lease runs out; people read why.
            log.warning("session refused", extra={"node": node_id, "reason": str(error)})
            outside = nodes.refused(node_id, str(error), holds=lambda: node_id not in self._sessions)
            self._writer.submit(node_id, [outside])
            raise
        await self._serve(peer, description, stream)

    def _redirect(self) -> Redirect:
        leader = other_leader(self._proposer)
        if leader is None:
            return Redirect()  # ask again in a moment
        return Redirect(leader=ManagerAddress(node_id=leader.node_id, address=leader.address))

    async def _serve(self, peer: Peer, description: NodeDescription, stream: AgentStream) -> None:
        node_id = peer.node_id
        session = Session(node_id, self._new_id(), stream, self, self._clock)
        if (older := self._sessions.pop(node_id, None)) is not None:
            older.end("replaced by a newer session of the same node")
        self._sessions[node_id] = session
        self._drain.joined(session, self._store.view().tasks.find("node_id", node_id))
        self._lives.came(node_id)
        self._writer.submit(node_id, [nodes.ready(node_id, description, peer.address)])
        log.info("session opened", extra={"node": node_id, "session": session.session_id})
        session.info_changed()
        self._notify(node_id, True)
        reason = "the connection broke"
        try:
            reason = await session.run()
        finally:
            # Only the newest session of a node says anything about the node.
            self._drain.left(session.session_id)
            if self._sessions.get(node_id) is session:
                del self._sessions[node_id]
                self._notify(node_id, False)
                if self._leading:
                    self._lives.disconnected(node_id)
            log.info(
                "session ended", extra={"node": node_id, "session": session.session_id, "reason": reason}
            )

    def _notify(self, node_id: str, connected: bool) -> None:
        for listener in self._listeners:
            listener(node_id, connected)

    # -- what sessions ask (session.Callbacks) ------------------------------------------------------

    def view(self) -> View:
        """The newest state, once the tables and the drain barrier have followed it."""
        if self._feed is not None:
            for commit in self._feed.drain():
                self._route(commit)
        view = self._store.view()
        if self._leading and self.tables.revision < view.index:
            self._catch_up()  # the watch lags, and `run` has not been told yet
        return view

    def withholds(self, task: Task) -> bool:
        return self._drain.withholds(task)

    def withholds_removal(self, task_id: str) -> bool:
        return self._drain.withholds_removal(task_id)

    def networks_applied(self, session: Session) -> None:
        self._drain.confirmed(session)

    def _may_stop(self, task_id: str, node_id: str) -> None:
        """All hosts keep new connections away from the task: its agent may hear that it shall stop."""
        if (session := self._sessions.get(node_id)) is not None:
            session.task_changed(task_id)

    def session_info(self, session: Session) -> SessionInfo | None:
        view = self._store.view()
        if (node := view.nodes.get(session.node_id)) is None:
            return None
        cluster = next(iter(view.clusters), None)
        return SessionInfo(
            session_id=session.session_id,
            node=nodes.told_to_agent(node),
            managers=tuple(
                ManagerAddress(node_id=member.node_id, address=member.address)
                for member in sorted(self._proposer.members.values(), key=lambda member: member.node_id)
            ),
            heartbeat_period=int(self._lives.period() * 1e9),
            root_ca=cluster.root_ca.ca_cert if cluster is not None else b"",
            network_keys=overlay_keys(cluster) if cluster is not None else (),
        )

    def heard(self, session: Session) -> None:
        self._lives.heard(session.node_id)

    def reported(self, session: Session, message: StatusReports) -> asyncio.Future[bool]:
        node_id = session.node_id
        changes = [StatusChange(node_id, report, self._refusals) for report in message.reports]
        return self._writer.submit(node_id, changes)

    def described(self, session: Session, message: DescriptionUpdate) -> None:
        try:
            self._descriptions.tell(session.node_id, checked_description(message.description))
        except Invalid as error:
            session.end(str(error))

    # -- the leader's loop --------------------------------------------------------------------------

    async def run(self) -> None:
        """While this manager leads."""
        # An agent believes what we say about its tasks: say nothing before all that was committed is here.
        await self._proposer.read_barrier()
        self._lives.forget()
        self._writer.clear()
        try:
            with self._store.view_and_watch() as (view, feed):
                await in_turns(self._start_over(view))
                self._feed, self._leading = feed, True
                async with TaskGroup() as group:
                    group.create_task(self._writer.run(), name="dispatcher writer")
                    group.create_task(self._lives.watch(), name="dispatcher leases")
                    group.create_task(self._lives.watch_the_dead(), name="dispatcher orphans")
                    group.create_task(self._drain.run(), name="dispatcher drain")
                    while True:
                        try:
                            commit = await feed.get()
                        except Lagged:
                            self._catch_up()
                        else:
                            self._route(commit)
        finally:
            self._feed, self._leading = None, False
            for session in tuple(self._sessions.values()):
                session.end("this manager does not lead any more")

    def _start_over(self, view: View) -> Turns[None]:
        """Before the first session; what is committed meanwhile waits in the feed."""
        yield from self.tables.reset_in_turns(view, view.index)
        yield from self._drain.restart_in_turns(view.tasks)
        self._lives.expect_all(view)

    def _catch_up(self) -> None:
        """The watch lagged: what it did not tell is compared."""
        view = self._store.view()
        self.tables.reset(view, view.index)
        self._drain.catch_up(view.tasks, self._sessions.values())
        self._lives.orphan_the_nodeless(view)
        for node_id, session in tuple(self._sessions.items()):
            if node_id not in view.nodes:
                self._removed(node_id)
            session.anything_changed()
            session.info_changed()

    def _route(self, commit: Commit) -> None:
        infos: set[str] = set()
        # The view may be ahead of the commit: what is derived twice is the same.
        if networks := self.tables.follow(commit.changes, self._store.view(), commit.index):
            for open_session in self._sessions.values():
                open_session.networks_changed(networks)
        for change in commit.changes:
            match change.object:
                case Task() as task:
                    self._route_task(change, task)
                case Node() as node:
                    if change.kind == "remove":
                        self._removed(node.id)
                    elif change.kind == "create" and node.id not in self._sessions:
                        self._lives.expect(node.id)
                    infos.add(node.id)
                    if _managers_differ(change):
                        infos.update(self._sessions)
                case Cluster():
                    infos.update(self._sessions)
        for node_id in infos:
            if (session := self._sessions.get(node_id)) is not None:
                session.info_changed()

    def _route_task(self, change: Change, task: Task) -> None:
        old, new = change.old, change.new
        self._drain.changed(
            old if isinstance(old, Task) else None,
            new if isinstance(new, Task) else None,
            self._sessions.values(),
        )
        concerned = {task.node_id}
        if isinstance(change.old, Task):
            concerned.add(change.old.node_id)
        for node_id in concerned:
            if node_id and (session := self._sessions.get(node_id)) is not None:
                session.task_changed(task.id)

    def _removed(self, node_id: str) -> None:
        if (session := self._sessions.get(node_id)) is not None:
            session.end("this node was removed from the swarm", forbidden=True)
        self._lives.removed(node_id)

    def _silent(self, node_id: str) -> None:
        if (session := self._sessions.pop(node_id, None)) is not None:
            session.end(nodes.HEARTBEAT_FAILURE)
            self._notify(node_id, False)


def _managers_differ(change: Change) -> bool:
    """Whether the commit may have changed the list of managers that agents are told."""
    old, new = change.old, change.new
    roles = (old.role if isinstance(old, Node) else None, new.role if isinstance(new, Node) else None)
    addresses = tuple(
        n.manager_status.addr if isinstance(n, Node) and n.manager_status else "" for n in (old, new)
    )
    return NodeRole.MANAGER in roles and (roles[0] != roles[1] or addresses[0] != addresses[1])
