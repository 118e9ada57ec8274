"""The leader's loop that turns a wanted role (`Node.spec.role`) into the real one (`Node.role`).

Promotion: the role is set; the node's session tells its agent, which renews its certificate and then joins raft.
Demotion: the raft member goes first, so that no worker ever votes, then the role is set. A demotion that would
cost the quorum waits, and a leader hands the lead over before its own. Law: `Node.role` is WORKER only for nodes
that raft does not know, or is about to be told to forget.
"""

from __future__ import annotations

import asyncio
import logging
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from manager.raft.proposer import Proposer, RaftStatus
from manager.store.store import Store
from manager.store.tables import Tables
from manager.store.tx import Tx
from manager.store.watch import Feed, Lagged
from swarmcore.aio import owned
from swarmcore.clock import Clock
from swarmcore.errors import SwarmError
from swarmcore.model.node import Node, NodeRole

log = logging.getLogger(__name__)
RETRY = 5.0
IDLE = 60.0  # raft's membership is not in the store: a node may join raft while it is demoted
REMOVAL_TIMEOUT = 5.0


class Action(StrEnum):
    PROMOTE = "promote"  # set the role manager
    HAND_OVER = "hand over"  # this leader is to be demoted: another one shall do it
    REMOVE_MEMBER = "remove member"  # out of raft; the role follows in the next pass
    DEMOTE = "demote"  # set the role worker
    HOLD = "hold"  # not now, `why` says what it waits for


class Step(Struct, frozen=True, kw_only=True):
    action: Action
    node_id: str
    why: str = ""


def plan(tables: Tables, status: RaftStatus) -> tuple[Step, ...]:
    """Pure: what to do next for every node whose role is not the wanted one. At most one member leaves per pass."""
    steps: list[Step] = []
    leaving = False
    for node in sorted(tables.nodes, key=lambda node: node.id):
        if node.spec.role is NodeRole.MANAGER:
            if node.role is not NodeRole.MANAGER:
                steps.append(Step(action=Action.PROMOTE, node_id=node.id))
        elif node.id in status.members:
            # Also a node whose role is worker already: it may have joined raft while it was demoted.
            step = _demotion(node.id, status)
            if not leaving or step.action is Action.HOLD:
                steps.append(step)
            leaving = leaving or step.action is not Action.HOLD
        elif node.role is not NodeRole.WORKER:
            steps.append(Step(action=Action.DEMOTE, node_id=node.id))
    return tuple(steps)


def _demotion(node_id: str, status: RaftStatus) -> Step:
    why = quorum_risk(node_id, status)
    if why:
        return Step(action=Action.HOLD, node_id=node_id, why=why)
    own = node_id == status.node_id
    return Step(action=Action.HAND_OVER if own else Action.REMOVE_MEMBER, node_id=node_id)


def quorum_risk(node_id: str, status: RaftStatus) -> str:
    """Why `node_id` must not leave raft now; empty if it may."""
    left = [member for member in status.members if member != node_id]
    if not left:
        return "it is the last manager of the swarm"
    alive = sum(member == status.node_id or status.reachable.get(member, False) for member in left)
    quorum = len(left) // 2 + 1
    if alive < quorum:
        return f"only {alive} of the {len(left)} other managers are reachable and {quorum} are needed for a quorum"
    return ""


class RoleManager:
    """Runs while this manager leads; after any restart the first pass looks at every node."""

    def __init__(self, store: Store, proposer: Proposer, clock: Clock) -> None:
        self._store = store
        self._proposer = proposer
        self._clock = clock
        self._held: dict[str, str] = {}

    async def run(self) -> None:
        with self._store.watch(kinds=frozenset({Node})) as feed:
            while True:
                done = await self.reconcile()
                await self._wait(feed, IDLE if done else RETRY)

    async def reconcile(self) -> bool:
        """Steps until nothing is left to do; False if something is left that no commit will announce."""
        before: tuple[Step, ...] = ()
        while steps := plan(self._store.view(), self._proposer.status()):
            if steps == before:
                return False  # the last pass changed nothing
            before = steps
            done = [await self._attempt(step) for step in steps]
            if not any(done) or any(step.action is Action.HAND_OVER for step in steps):
                return False  # after a hand-over the next leader goes on
        self._held.clear()
        return True

    async def _attempt(self, step: Step) -> bool:
        try:
            return await self._carry_out(step)
        except (SwarmError, TimeoutError) as error:
            log.warning(
                "role change failed, it is tried again",
                extra={"node": step.node_id, "step": str(step.action), "error": str(error)},
            )
            return False

    async def _carry_out(self, step: Step) -> bool:
        extra = {"node": step.node_id}
        match step.action:
            case Action.HOLD:
                if self._held.get(step.node_id) != step.why:
                    self._held[step.node_id] = step.why
                    log.warning("demotion waits", extra={**extra, "reason": step.why})
                return False
            case Action.PROMOTE:
                await self._set_role(step.node_id, NodeRole.MANAGER)
            case Action.DEMOTE:
                await self._set_role(step.node_id, NodeRole.WORKER)
            case Action.HAND_OVER:
                log.info("handing over the lead before this manager is demoted", extra=extra)
                await self._proposer.transfer_lead()
            case Action.REMOVE_MEMBER:
                async with asyncio.timeout(REMOVAL_TIMEOUT):
                    await self._proposer.remove_member(step.node_id)
                log.info("manager removed from raft for its demotion", extra=extra)
        return True

    async def _set_role(self, node_id: str, role: NodeRole) -> None:
        def change(tx: Tx) -> bool:
            node = tx.nodes.get(node_id)
            # The user may have changed their mind, or removed the node, since the plan.
            if node is None or node.spec.role is not role or node.role is role:
                return False
            tx.nodes.put(replace(node, role=role))
            return True

        if await self._store.transact(change):
            log.info("role changed", extra={"node": node_id, "role": str(role)})

    async def _wait(self, feed: Feed, at_most: float) -> None:
        """Until a node's roles change in the store, or `at_most` seconds."""
        async with (
            owned(_role_commit(feed), "role commits") as commit,
            owned(self._clock.sleep(at_most), "role retry") as timer,
        ):
            await asyncio.wait({commit, timer}, return_when=asyncio.FIRST_COMPLETED)
            if commit.done():
                commit.result()


async def _role_commit(feed: Feed) -> None:
    while True:
        try:
            commit = await feed.get()
        except Lagged:
            return
        for change in commit.changes:
            new, old = change.new, change.old
            if isinstance(new, Node) and not (isinstance(old, Node) and _roles(old) == _roles(new)):
                return


def _roles(node: Node) -> tuple[NodeRole, NodeRole]:
    return node.spec.role, node.role
