"""Which nodes live: a lease for each, what becomes of one whose lease ends, and of its tasks a day later.

A node is DISCONNECTED when its stream breaks, DOWN when it does not come back within the reconnect grace or falls
silent for three heartbeats; its tasks are ORPHANED when it has been down for a day, and at once when it is removed.
A new leader knows no leases, so every node that was not down is UNKNOWN at first, with a longer grace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from manager.dispatcher import nodes
from manager.dispatcher.heartbeat import Leases
from manager.dispatcher.statuses import Writer
from manager.store.store import Store
from manager.store.tables import View
from swarmcore.clock import Clock
from swarmcore.model.node import NodeState

log = logging.getLogger(__name__)

# Docker's period is 5 s; a dead node's tasks shall run elsewhere within 5 s of its death, so ours is 1 s.
HEARTBEAT_PERIOD = 1.0
# The graces are counted in heartbeats.
GRACE = 3.0
# A dead leader may have been a worker too: with the election its tasks are back within 5 s of its death.
NEW_LEADER_GRACE = 4.0
# Long enough for a daemon to be restarted without its tasks being moved; whose restarts take longer chooses longer
# heartbeats.
RECONNECT_GRACE = 2.5
ORPHAN_AFTER = 24 * 3600.0  # seconds


class NodeLives:
    """Of all nodes, while this manager leads. `connected` says whether one has a session, `silent` ends that."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        writer: Writer,
        *,
        connected: Callable[[str], bool],
        silent: Callable[[str], None],
        orphan_after: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._writer = writer
        self._connected = connected
        self._silent = silent
        self._orphan_after = orphan_after
        self._leases = Leases(clock)
        self._given_up = Leases(clock, tick=1.0)  # of nodes that are down

    def forget(self) -> None:
        """What was known while this manager led before says nothing now."""
        self._leases.clear()
        self._given_up.clear()

    def expect_all(self, view: View) -> None:
        """A new leader's first word on every node; those that were down have their day anew."""
        grace = NEW_LEADER_GRACE * self.period()
        for node in view.nodes:
            if node.status.state is NodeState.DOWN:
                self._given_up.renew(node.id, self._orphan_after)
            else:
                self._leases.renew(node.id, grace)
                self._mark(node.id, NodeState.UNKNOWN, "the leader changed, waiting for the node")
        self.orphan_the_nodeless(view)

    def expect(self, node_id: str) -> None:
        """A node that has just joined counts as down if it never opens a session."""
        self._leases.renew(node_id, NEW_LEADER_GRACE * self.period())

    def period(self) -> float:
        """Seconds between two heartbeats, as the swarm's settings say now."""
        cluster = next(iter(self._store.view().clusters), None)
        period = cluster.spec.dispatcher.heartbeat_period if cluster is not None else 0
        return period / 1e9 if period > 0 else HEARTBEAT_PERIOD

    def came(self, node_id: str) -> None:
        """It has opened a session."""
        self.heard(node_id)
        self._given_up.end(node_id)

    def heard(self, node_id: str) -> None:
        self._leases.renew(node_id, GRACE * self.period())

    def disconnected(self, node_id: str) -> None:
        if node_id not in self._leases:
            return  # its lease ran out before: it is down already
        self._leases.renew(node_id, RECONNECT_GRACE * self.period())
        self._mark(node_id, NodeState.DISCONNECTED, "the agent's connection broke")

    def removed(self, node_id: str) -> None:
        self._leases.end(node_id)
        self._given_up.end(node_id)
        self._orphan(self._store.view(), node_id, "the node was removed from the swarm")

    def orphan_the_nodeless(self, view: View) -> None:
        known = {node.id for node in view.nodes}
        for node_id in sorted({task.node_id for task in view.tasks if task.node_id} - known):
            self._orphan(view, node_id, "the node was removed from the swarm")

    async def watch(self) -> None:
        """For ever: those whose lease ends are down."""
        await self._leases.watch(self._expired)

    async def watch_the_dead(self) -> None:
        """For ever: those that have been down for too long are given up."""
        await self._given_up.watch(self._abandoned)

    async def _expired(self, node_ids: list[str]) -> None:
        for node_id in node_ids:
            log.warning("node is down", extra={"node": node_id})
            self._silent(node_id)
            self._mark(node_id, NodeState.DOWN, nodes.HEARTBEAT_FAILURE)
            self._given_up.renew(node_id, self._orphan_after)

    async def _abandoned(self, node_ids: list[str]) -> None:
        for node_id in node_ids:
            self._orphan(self._store.view(), node_id, "the node has been down for too long")

    def _mark(self, node_id: str, state: NodeState, message: str) -> None:
        absent = nodes.absent(node_id, state, message, holds=lambda: not self._connected(node_id))
        self._writer.submit(node_id, [absent])

    def _orphan(self, view: View, node_id: str, message: str) -> None:
        lost = nodes.lost_tasks(view, node_id)
        if lost:
            log.warning("tasks orphaned", extra={"node": node_id, "tasks": len(lost)})
            now = self._clock.now()
            self._writer.submit(node_id, [nodes.orphaned(task.id, node_id, now, message) for task in lost])
