"""Who is there, what each node is told, and what it reports: the leader's side of all agent sessions.

`serve` is registered on every manager; one that does not lead names the leader. `run` is a leader loop:
sessions exist only while it runs. A node is DISCONNECTED when its stream breaks, DOWN when it does not come
back within the reconnect grace or falls silent for three heartbeats, and ORPHANED are its tasks a day later.
A new leader knows no leases, so every node that was not down is UNKNOWN at first, with a longer grace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from manager.dispatcher import nodes
from manager.dispatcher.descriptions import Descriptions
from manager.dispatcher.drain import DrainBarrier
from manager.dispatcher.endpoints import EndpointTables
from manager.dispatcher.heartbeat import Leases
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
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeState
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

# Docker's period is 5 s; a dead node's tasks shall run elsewhere within 5 s of its death, so ours is 1 s.
HEARTBEAT_PERIOD = 1.0
GRACE = 3.0
# A dead leader may have been a worker too: with the election its tasks are back within 5 s of its death.
NEW_LEADER_GRACE = 4.0
# Heartbeats, as the two above. Long enough for a daemon to be restarted without its tasks being moved; whose restarts
# take longer chooses longer heartbeats.
RECONNECT_GRACE = 2.5
ORPHAN_AFTER = 24 * 3600.0
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
        self._orphan_after = orphan_after
        self._leading = False
        self._feed: Feed | None = None  # while leading
        self._sessions: dict[str, Session] = {}
        self._leases = Leases(clock)
        self._given_up = Leases(clock, tick=1.0)
        self._writer = Writer(store, clock)
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
        self.heard(session)
        self._given_up.end(node_id)
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
                    self._disconnected(node_id)
            log.info(
                "session ended", extra={"node": node_id, "session": session.session_id, "reason": reason}
            )

    def _notify(self, node_id: str, connected: bool) -> None:
        for listener in self._listeners:
            listener(node_id, connected)

    def _disconnected(self, node_id: str) -> None:
        if node_id not in self._leases:
            return  # its lease ran out before: it is down already
        self._leases.renew(node_id, RECONNECT_GRACE * self._period())
        self._mark(node_id, NodeState.DISCONNECTED, "the agent's connection broke")

    def _mark(self, node_id: str, state: NodeState, message: str) -> None:
        self._writer.submit(
            node_id, [nodes.absent(node_id, state, message, holds=lambda: node_id not in self._sessions)]
        )

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
            heartbeat_period=int(self._period() * 1e9),
            root_ca=cluster.root_ca.ca_cert if cluster is not None else b"",
            network_keys=overlay_keys(cluster) if cluster is not None else (),
        )

    def _period(self) -> float:
        cluster = next(iter(self._store.view().clusters), None)
        period = cluster.spec.dispatcher.heartbeat_period if cluster is not None else 0
        return period / 1e9 if period > 0 else HEARTBEAT_PERIOD

    def heard(self, session: Session) -> None:
        self._leases.renew(session.node_id, GRACE * self._period())

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
        self._leases.clear()
        self._given_up.clear()
        self._writer.clear()
        try:
            with self._store.view_and_watch() as (view, feed):
                await in_turns(self._start_over(view))
                self._feed, self._leading = feed, True
                async with TaskGroup() as group:
                    group.create_task(self._writer.run(), name="dispatcher writer")
                    group.create_task(self._leases.watch(self._expired), name="dispatcher leases")
                    group.create_task(self._given_up.watch(self._abandoned), name="dispatcher orphans")
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
        grace = NEW_LEADER_GRACE * self._period()
        for node in view.nodes:
            if node.status.state is NodeState.DOWN:
                self._given_up.renew(node.id, self._orphan_after)
            else:
                self._leases.renew(node.id, grace)
                self._mark(node.id, NodeState.UNKNOWN, "the leader changed, waiting for the node")
        self._orphan_the_nodeless(view)

    def _orphan_the_nodeless(self, view: View) -> None:
        known = {node.id for node in view.nodes}
        for node_id in sorted({task.node_id for task in view.tasks if task.node_id} - known):
            self._orphan(view, node_id, "the node was removed from the swarm")

    def _catch_up(self) -> None:
        """The watch lagged: what it did not tell is compared."""
        view = self._store.view()
        self.tables.reset(view, view.index)
        self._drain.catch_up(view.tasks, self._sessions.values())
        self._orphan_the_nodeless(view)
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
                        self._expect(node)
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

    def _expect(self, node: Node) -> None:
        """A node that has just joined counts as down if it never opens a session."""
        self._leases.renew(node.id, NEW_LEADER_GRACE * self._period())

    def _removed(self, node_id: str) -> None:
        self._leases.end(node_id)
        self._given_up.end(node_id)
        if (session := self._sessions.get(node_id)) is not None:
            session.end("this node was removed from the swarm", forbidden=True)
        self._orphan(self._store.view(), node_id, "the node was removed from the swarm")

    async def _expired(self, node_ids: list[str]) -> None:
        for node_id in node_ids:
            log.warning("node is down", extra={"node": node_id})
            if (session := self._sessions.pop(node_id, None)) is not None:
                session.end(nodes.HEARTBEAT_FAILURE)
                self._notify(node_id, False)
            self._mark(node_id, NodeState.DOWN, nodes.HEARTBEAT_FAILURE)
            self._given_up.renew(node_id, self._orphan_after)

    async def _abandoned(self, node_ids: list[str]) -> None:
        for node_id in node_ids:
            self._orphan(self._store.view(), node_id, "the node has been down for too long")

    def _orphan(self, view: View, node_id: str, message: str) -> None:
        lost = nodes.lost_tasks(view, node_id)
        if lost:
            log.warning("tasks orphaned", extra={"node": node_id, "tasks": len(lost)})
            now = self._clock.now()
            self._writer.submit(node_id, [nodes.orphaned(task.id, node_id, now, message) for task in lost])


def _managers_differ(change: Change) -> bool:
    """Whether the commit may have changed the list of managers that agents are told."""
    old, new = change.old, change.new
    roles = (old.role if isinstance(old, Node) else None, new.role if isinstance(new, Node) else None)
    addresses = tuple(
        n.manager_status.addr if isinstance(n, Node) and n.manager_status else "" for n in (old, new)
    )
    return NodeRole.MANAGER in roles and (roles[0] != roles[1] or addresses[0] != addresses[1])
