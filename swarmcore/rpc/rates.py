"""How often somebody may ask for something costly: a burst, then one each period, counted for each asker."""

from __future__ import annotations

from collections import OrderedDict

from swarmcore.clock import Clock

REMEMBERED = 4096


class Rate:
    """Bounded in memory: of more askers than are remembered the quietest is forgotten, and may begin anew."""

    def __init__(self, clock: Clock, *, burst: int, period: float, remembered: int = REMEMBERED) -> None:
        self._clock = clock
        self._burst = burst
        self._period = period
        self._remembered = remembered
        self._owed: OrderedDict[str, float] = OrderedDict()  # asker -> when all that it took is earned again

    def spend(self, asker: str) -> float:
        """Spends one, and returns 0.0; or spends nothing and returns the seconds after which it may be tried again."""
        now = self._clock.monotonic()
        owed = max(self._owed.get(asker, now), now)
        wait = owed - now - (self._burst - 1) * self._period
        if wait > 0:
            return wait
        self._owed[asker] = owed + self._period
        self._owed.move_to_end(asker)
        if len(self._owed) > self._remembered:
            self._owed.popitem(last=False)
        return 0.0
