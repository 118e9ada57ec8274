"""A manager's place among the others: how it gets one, what follows a recovery, and how it gives the place up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from manager.membership.bootstrap import NewSwarm, seed
from manager.membership.left_behind import leave_behind
from manager.raft.node import RaftNode
from manager.store.store import Store
from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, SwarmError, Unavailable
from swarmcore.model.generation import FIRST
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.members import JoinRaft, LeaveRaft, MembersReply
from swarmcore.rpc.messages.raft import AskGeneration, GenerationReply

log = logging.getLogger(__name__)
JOIN_PATIENCE = 20.0  # seconds a manager waits for its place in raft, as Docker's join does
_AGAIN = 0.3  # seconds


class PlaceInRaft:
    """`advertise` is this manager's address, under which the others have it or shall have it."""

    def __init__(self, raft: RaftNode, store: Store, client: RpcClient, clock: Clock, advertise: str) -> None:
        self._raft, self._store, self._client, self._clock = raft, store, client, clock
        self._node_id, self._advertise = raft.node_id, advertise

    async def obtain(self, swarm: NewSwarm | None, remotes: Sequence[str]) -> None:
        """First manager: write the first entry. Others: be a raft member, and caught up."""
        if swarm is not None:
            await self._until(lambda: self._raft.is_leader, "this manager to lead")
            await seed(self._store, swarm)
            return
        own = self._raft.members.get(self._node_id)
        if own is None or own.address != self._advertise:
            await self._ask_for_it(remotes)
        elif self._store.view().clusters:
            return  # a restart: it goes on with what it has, whether or not others are there
        await self._until(lambda: len(self._store.view().clusters) > 0, "the swarm's state")

    async def _ask_for_it(self, remotes: Sequence[str]) -> None:
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
        self._raft.join_generation(reply.generation)
        await self._client.call(address, JoinRaft(address=self._advertise), MembersReply, timeout=10.0)

    async def leave_others_behind(self) -> None:
        """After a recovery, or one that was cut short: the other managers are none any more."""
        generation = self._raft.generation or FIRST
        if generation == FIRST or set(self._raft.members) != {self._node_id}:
            return
        if all(cluster.generation == generation for cluster in self._store.view().clusters):
            return
        await self._until(lambda: self._raft.is_leader, "this manager to lead")
        now = self._clock.now()
        gone = await self._store.transact(lambda tx: leave_behind(tx, {self._node_id}, generation, now))
        log.warning("managers are left behind by the recovery", extra={"nodes": list(gone)})

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        if not await self._raft.wait_until(condition, JOIN_PATIENCE):
            raise NoLeader(f"waited {JOIN_PATIENCE:.0f} s for {what} in vain")

    async def give_up(self) -> None:
        """Hand the lead over first; alone there is nobody to tell. Raises if no other manager agrees."""
        others = [m.address for m in self._raft.members.values() if m.node_id != self._node_id]
        if not others:
            return
        if self._raft.is_leader:
            await self._raft.transfer_lead()
        last: SwarmError = Unavailable("no other manager answers")
        for address in others:
            try:
                await self._client.call(address, LeaveRaft(), MembersReply, timeout=15.0)
                return
            except SwarmError as error:
                last = error
        raise last
