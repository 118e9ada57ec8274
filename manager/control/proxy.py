"""The control API on every manager: the leader carries requests out, a follower passes them on, once.

During an election a request waits for the new leader (at most PATIENCE); one whose answer was lost is
repeated only where repeating is harmless: a create carries the id of its object.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from manager.control.control import Control
from manager.raft.proposer import Proposer
from manager.store.store import Store
from pki.join import Caller
from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, OutcomeUnknown, Unavailable, WrongRole
from swarmcore.ids import NewId
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.control import ControlReply, ControlRequest, Create, ForwardedControl
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds; an election takes less than one
CALL_TIMEOUT = 3.0
_AGAIN = 0.05


class ControlProxy:
    def __init__(
        self, control: Control, store: Store, proposer: Proposer, client: Caller, clock: Clock, new_id: NewId
    ) -> None:
        self._control, self._store, self._proposer = control, store, proposer
        self._client, self._clock, self._new_id = client, clock, new_id

    def register(self, server: RpcServer) -> None:
        server.call(ForwardedControl, self.forwarded, roles=frozenset({NodeRole.MANAGER}))

    def unregister(self, server: RpcServer) -> None:
        server.unregister(ForwardedControl)

    async def forwarded(self, peer: Peer, request: ForwardedControl) -> ControlReply:
        """From another manager; never passed on again. The store knows of a demotion before the certificate does."""
        sender = self._store.view().nodes.get(peer.node_id)
        if sender is None or sender.role is not NodeRole.MANAGER:
            raise WrongRole("only a manager of the swarm may pass requests on")
        return await self._control.handle(request.request)

    async def handle(self, request: ControlRequest) -> ControlReply:
        if isinstance(request, Create) and not request.id:
            request = replace(request, id=self._new_id())
        deadline = self._clock.monotonic() + PATIENCE
        while True:
            try:
                return await self._once(request)
            except OutcomeUnknown:
                if not isinstance(request, Create) or self._clock.monotonic() > deadline:
                    raise
            except Unavailable:  # NoLeader, or a leader that could not be asked: nothing happened
                if self._clock.monotonic() > deadline:
                    raise
            await self._clock.sleep(_AGAIN)

    async def _once(self, request: ControlRequest) -> ControlReply:
        if self._proposer.is_leader:
            return await self._control.handle(request)
        leader = self._proposer.leader
        if leader is None or leader.node_id == self._proposer.node_id:
            raise NoLeader("the swarm does not have a leader right now")
        forwarded = ForwardedControl(request=request)
        return await self._client.call(leader.address, forwarded, ControlReply, timeout=CALL_TIMEOUT)
