"""One log line for a peer that is refused, never a flood: repeated refusals of an address are counted, not logged."""

from __future__ import annotations

import logging
from collections import OrderedDict

from swarmcore.clock import REAL_CLOCK, Clock

log = logging.getLogger(__name__)
PERIOD = 60.0  # seconds until the same address and reason are worth another line
LINES = 30  # lines in one period, whoever is refused
REMEMBERED = 1024


class Refusals:
    """Bounded in memory and in lines, however many addresses an attacker has."""

    def __init__(self, clock: Clock = REAL_CLOCK) -> None:
        self._clock = clock
        self._seen: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()
        self._period_began = self._clock.monotonic()
        self._lines = 0

    def note(self, address: str, reason: str) -> None:
        now = self._clock.monotonic()
        key = (address, reason)
        logged_at, repeated = self._seen.get(key, (None, 0))
        if logged_at is not None and now - logged_at < PERIOD:
            self._seen[key] = (logged_at, repeated + 1)
            return
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if now - self._period_began >= PERIOD:
            self._period_began, self._lines = now, 0
        self._lines += 1
        if self._lines <= LINES:
            log.warning("peer refused", extra={"peer": address, "reason": reason, "repeated": repeated})
        elif self._lines == LINES + 1:
            log.warning("many peers are refused, further lines are left out", extra={"seconds": PERIOD})
