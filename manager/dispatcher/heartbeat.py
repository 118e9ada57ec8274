"""Leases of nodes: a deadline per node that somebody renews, and what happens when nobody does.

The watch knows when it overslept (the process was stopped, the loop was blocked): what the nodes sent
meanwhile still waits to be read, so every lease gets the lost time back instead of expiring at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from swarmcore.clock import Clock

TICK = 0.1
# A tick that comes this late was no busy moment but a stop.
OVERSLEPT = 0.5


class Leases:
    def __init__(self, clock: Clock, tick: float = TICK) -> None:
        self._clock = clock
        self._tick = tick
        self._deadlines: dict[str, float] = {}

    def renew(self, node_id: str, seconds: float) -> None:
        self._deadlines[node_id] = self._clock.monotonic() + seconds

    def end(self, node_id: str) -> None:
        self._deadlines.pop(node_id, None)

    def clear(self) -> None:
        self._deadlines.clear()

    def __contains__(self, node_id: str) -> bool:
        return node_id in self._deadlines

    def expired(self) -> list[str]:
        """Take out the nodes whose time is over."""
        now = self._clock.monotonic()
        over = [node_id for node_id, deadline in self._deadlines.items() if deadline <= now]
        for node_id in over:
            del self._deadlines[node_id]
        return over

    async def watch(self, on_expired: Callable[[list[str]], Awaitable[None]]) -> None:
        """For ever: tell which leases ended, at most one tick late."""
        before = self._clock.monotonic()
        while True:
            await self._clock.sleep(self._tick)
            now = self._clock.monotonic()
            lost = now - before - self._tick
            if lost > OVERSLEPT:
                self._deadlines = {node_id: at + lost for node_id, at in self._deadlines.items()}
            elif over := self.expired():
                await on_expired(over)
            before = self._clock.monotonic()
