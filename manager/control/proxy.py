"""The control API on every manager: the leader carries requests out, a follower passes them on, once.

During an election a request waits for the new leader (at most PATIENCE). One whose answer was lost is asked again: it
carries an id that the store remembers with its answer, so it is carried out once, or the user hears that nobody knows.
"""

from __future__ import annotations

import logging

from msgspec.structs import replace

from manager.control.control import Control
from manager.leader import Leader, OnLeader
from swarmcore.clock import Clock
from swarmcore.errors import OutcomeUnknown, Unavailable
from swarmcore.ids import NewId
from swarmcore.rpc.messages.control import ControlReply, ControlRequest, Create, ForwardedControl

log = logging.getLogger(__name__)
PATIENCE = 5.0  # seconds; an election takes less than one
CALL_TIMEOUT = 3.0
_AGAIN = 0.05


class ControlProxy:
    """The door that every manager has to the control API: `carry_out` works on the leader and on all others."""

    def __init__(self, control: Control, leader: Leader, clock: Clock, new_id: NewId) -> None:
        self._clock, self._new_id = clock, new_id
        self.on_leader = OnLeader(
            leader,
            ForwardedControl,
            ControlReply,
            lambda asked: control.carry_out(asked.request, asked.write_id),
            timeout=CALL_TIMEOUT,
        )
        self.register, self.unregister = self.on_leader.register, self.on_leader.unregister

    async def carry_out(self, request: ControlRequest) -> ControlReply:
        if isinstance(request, Create) and not request.id:
            request = replace(request, id=self._new_id())
        asked = ForwardedControl(request=request, write_id=self._new_id())
        deadline = self._clock.monotonic() + PATIENCE
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                return await self.on_leader.ask(asked)
            except OutcomeUnknown as error:
                unknown = error
            except Unavailable as error:
                # NoLeader, or a leader that could not be asked: this time nothing happened.
                if self._clock.monotonic() > deadline:
                    raise unknown or error from None
            if unknown is not None and self._clock.monotonic() > deadline:
                raise unknown
            await self._clock.sleep(_AGAIN)
