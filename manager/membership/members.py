"""Who asks to join or leave raft, and followers' read barriers: any manager answers, the leader decides."""

from __future__ import annotations

import logging
from typing import Protocol

from msgspec.structs import replace

from manager.leader import Leader, OnLeader
from manager.raft.proposer import Member, Proposer
from manager.store.store import Store
from swarmcore.errors import Forbidden, WrongRole
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.members import (
    ForwardedMembership,
    JoinRaft,
    LeaveRaft,
    MembersReply,
    ReadIndex,
    ReadIndexReply,
)
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
FORWARD_TIMEOUT = 15.0  # seconds: a change of the members waits for the one before it
MANAGERS = frozenset({NodeRole.MANAGER})


class ReadIndexer(Proposer, Protocol):
    """A Proposer that also answers followers' barriers."""

    async def read_index(self) -> int: ...


class Members:
    """Handlers of the membership conversation."""

    def __init__(self, store: Store, raft: ReadIndexer, leader: Leader) -> None:
        self._store, self._raft = store, raft
        self.on_leader = OnLeader(
            leader, ForwardedMembership, MembersReply, self._change, timeout=FORWARD_TIMEOUT
        )

    def register(self, server: RpcServer) -> None:
        server.call(JoinRaft, self.join, roles=MANAGERS)
        server.call(LeaveRaft, self.leave, roles=MANAGERS)
        server.call(ReadIndex, self.read_index, roles=MANAGERS)
        self.on_leader.register(server)

    def unregister(self, server: RpcServer) -> None:
        for request in (JoinRaft, LeaveRaft, ReadIndex):
            server.unregister(request)
        self.on_leader.unregister(server)

    async def join(self, peer: Peer, request: JoinRaft) -> MembersReply:
        return await self.on_leader.ask(ForwardedMembership(node_id=peer.node_id, address=request.address))

    async def leave(self, peer: Peer, request: LeaveRaft) -> MembersReply:
        return await self.on_leader.ask(ForwardedMembership(node_id=peer.node_id, address=""))

    async def _change(self, change: ForwardedMembership) -> MembersReply:
        node = self._store.view().nodes.get(change.node_id)
        if node is None:
            raise Forbidden(f"node {change.node_id} does not belong to this swarm")
        if change.address:
            if node.role is not NodeRole.MANAGER:
                raise WrongRole(f"node {change.node_id} is not a manager")
            await self._raft.add_member(Member(node_id=change.node_id, address=change.address))
            log.info("manager joined", extra={"node": change.node_id, "address": change.address})
        else:
            if change.node_id in self._raft.members:
                await self._raft.remove_member(change.node_id)
            async with self._store.update() as tx:
                if (stored := tx.nodes.get(change.node_id)) is not None:
                    spec = replace(stored.spec, role=NodeRole.WORKER)
                    tx.nodes.put(replace(stored, spec=spec, role=NodeRole.WORKER))
            log.info("manager left", extra={"node": change.node_id})
        return MembersReply(members={m.node_id: m.address for m in self._raft.members.values()})

    async def read_index(self, peer: Peer, request: ReadIndex) -> ReadIndexReply:
        if peer.node_id not in self._raft.members:
            raise WrongRole(f"node {peer.node_id} is not a manager of this swarm")
        return ReadIndexReply(index=await self._raft.read_index())
