"""The control API on every manager: the leader carries requests out, a follower passes them on, once.

During an election a request waits for the new leader (at most PATIENCE). One whose answer was lost is asked again: it
carries an id that the store remembers with its answer, so it is carried out once, or the user hears that nobody knows.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from manager.control.control import Control
from manager.leader import Leader
from swarmcore.clock import Clock
from swarmcore.errors import OutcomeUnknown, Unavailable
from swarmcore.ids import NewId
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.control import ControlReply, ControlRequest, Create, ForwardedControl
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds; an election takes less than one
CALL_TIMEOUT = 3.0
_AGAIN = 0.05


class ControlProxy:
    """The door that every manager has to the control API: `carry_out` works on the leader and on all others."""

    def __init__(self, control: Control, leader: Leader, clock: Clock, new_id: NewId) -> None:
        self._control, self._leader = control, leader
        self._clock, self._new_id = clock, new_id

    def register(self, server: RpcServer) -> None:
        server.call(ForwardedControl, self.forwarded, roles=frozenset({NodeRole.MANAGER}))

    def unregister(self, server: RpcServer) -> None:
        server.unregister(ForwardedControl)

    async def forwarded(self, peer: Peer, request: ForwardedControl) -> ControlReply:
        """From another manager; never passed on again."""
        self._leader.verify(peer)
        return await self._control.carry_out(request.request, request.write_id)

    async def carry_out(self, request: ControlRequest) -> ControlReply:
        if isinstance(request, Create) and not request.id:
            request = replace(request, id=self._new_id())
        write_id = self._new_id()
        deadline = self._clock.monotonic() + PATIENCE
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                return await self._once(request, write_id)
            except OutcomeUnknown as error:
                unknown = error
            except (
                Unavailable
            ) as error:  # NoLeader, or a leader that could not be asked: this time nothing happened
                if self._clock.monotonic() > deadline:
                    raise unknown or error from None
            if unknown is not None and self._clock.monotonic() > deadline:
                raise unknown
            await self._clock.sleep(_AGAIN)

    async def _once(self, request: ControlRequest, write_id: str) -> ControlReply:
        if self._leader.is_here:
            return await self._control.carry_out(request, write_id)
        forwarded = ForwardedControl(request=request, write_id=write_id)
        return await self._leader.ask(forwarded, ControlReply, timeout=CALL_TIMEOUT)
