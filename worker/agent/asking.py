"""Questions to the swarm that any manager may answer: asked of one after the other until one does."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct

from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, Unavailable
from swarmcore.rpc.caller import Caller
from swarmcore.rpc.peers import Remotes

R = TypeVar("R", bound=Struct)
PAUSE = 0.2  # seconds; an election takes less than one
LONGEST = 10.0  # seconds that one manager may take to answer


class Managers:
    """`ask` repeats: only for requests that may be carried out twice."""

    def __init__(self, client: Caller, remotes: Remotes, clock: Clock) -> None:
        self._client, self._remotes, self._clock = client, remotes, clock

    async def ask(self, request: Struct, reply: type[R], *, patience: float) -> R:
        """The answer; Unavailable if none came within `patience` seconds, else the error that the manager raised."""
        deadline = self._clock.monotonic() + patience
        failed: tuple[str, ...] = ()
        while True:
            address = self._remotes.choose(failed)
            left = deadline - self._clock.monotonic()
            try:
                return await self._client.call(address, request, reply, timeout=max(0.1, min(LONGEST, left)))
            except Unavailable as error:
                # One without a leader is well itself; another may know more.
                self._remotes.observe(address, up=isinstance(error, NoLeader))
                failed = (address,)
                if self._clock.monotonic() + PAUSE >= deadline:
                    raise
            await self._clock.sleep(PAUSE)
