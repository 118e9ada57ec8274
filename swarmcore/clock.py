"""Time as an argument: a Clock is passed to whatever waits or stamps, so that tests own time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol

#: Seconds of this host's clock that nobody sets, only differences mean something: for what runs where no Clock is.
monotonic: Callable[[], float] = time.monotonic


def utc_now() -> datetime:
    """Wall time of this host, UTC: for what runs where no Clock is."""
    return datetime.now(UTC)


class Clock(Protocol):
    def monotonic(self) -> float:
        """Seconds, only differences mean something."""
        ...

    def now(self) -> datetime:
        """Wall time, UTC."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


#: For what is not told which clock to go by.
REAL_CLOCK: Clock = RealClock()
#: Seconds by which a clock may differ from the others before anybody cares.
TOLERANCE = 10.0
#: Readings of so many seconds count together, and the closest of them is taken.
WINDOW = 10.0
#: Without news for so long nobody goes by another clock any more.
FORGOTTEN = 86400.0
_SANE = (946_684_800.0, 32_503_680_000.0)  # the years 2000 to 3000
_MOST = 64  # managers whose clocks are remembered


class _Reading:
    """How far another clock is ahead of our monotonic one. Readings come late, never early: the largest is best."""

    def __init__(self) -> None:
        self._began = float("-inf")
        self._best = self._last = float("-inf")
        self.at = float("-inf")

    def take(self, ahead: float, now: float) -> None:
        if now - self._began > WINDOW:
            self._began, self._last, self._best = now, self._best, ahead
        if now - self.at > WINDOW:
            self._last = float("-inf")
        self._best = max(self._best, ahead)
        self.at = now

    @property
    def ahead(self) -> float:
        return max(self._best, self._last)


class AgreedClock:
    """A Clock that goes by the majority of the managers where this host's own runs against it.

    A manager hears the others' clocks and counts its own; a worker is told by the leader. What was heard is kept
    against the monotonic clock, so it stays true when the host's clock is set, forwards or backwards.
    """

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._managers: dict[str, _Reading] = {}
        self._leader = _Reading()
        self._judged = (
            float("-inf"),
            0.0,
        )  # when, and what this host's clock showed against the monotonic one
        self._correction: timedelta | None = None

    def monotonic(self) -> float:
        return self._own.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._own.sleep(seconds)

    def own_time(self) -> float:
        """What this host's clock shows, in seconds since 1970: what others are told, lest we hear ourselves."""
        return self._own.now().timestamp()

    def heard(self, manager: str, time: float) -> None:
        """Another manager's own clock showed this when it sent it."""
        known = manager in self._managers or len(self._managers) < _MOST
        if known and _SANE[0] <= time <= _SANE[1]:
            now = self.monotonic()
            self._managers.setdefault(manager, _Reading()).take(time - now, now)

    def forget(self, manager: str) -> None:
        """It is no manager any more."""
        self._managers.pop(manager, None)

    def forget_all(self) -> None:
        """This node is no manager any more."""
        self._managers.clear()

    def told(self, time: float) -> None:
        """The leader's agreed time."""
        if _SANE[0] <= time <= _SANE[1]:
            now = self.monotonic()
            self._leader.take(time - now, now)

    @property
    def ahead(self) -> float:
        """Seconds by which this host's clock is ahead of the majority's; 0 where nobody can say."""
        now = self.monotonic()
        own = self.own_time() - now
        fresh = [r.ahead - own for r in self._managers.values() if now - r.at < FORGOTTEN]
        if not fresh:
            return own - self._leader.ahead if now - self._leader.at < FORGOTTEN else 0.0
        # Sorted with our own; of two in the middle the one that is closer to ours: two clocks are no majority.
        offsets = sorted([0.0, *fresh])
        middle = offsets[(len(offsets) - 1) // 2 : len(offsets) // 2 + 1]
        return -min(middle, key=abs)

    @property
    def complaint(self) -> str:
        """What an operator should know of this host's clock; empty when all is well."""
        ahead = self.ahead
        if abs(ahead) > TOLERANCE:
            side = "ahead of" if ahead > 0 else "behind"
            return f"this host's clock is about {_roughly(ahead)} {side} those of the managers"
        if len(self._managers) == 1:
            (other,) = self._managers.values()
            apart = other.ahead - (self.own_time() - self.monotonic())
            if abs(apart) > TOLERANCE:  # which one is wrong, nobody can say
                return f"this host's clock and the other manager's are about {_roughly(apart)} apart"
        return ""

    def now(self) -> datetime:
        own, at = self._own.now(), self.monotonic()
        base = own.timestamp() - at
        judged_at, judged_base = self._judged
        # Whoever asks again within a second gets the same answer, unless the host's clock was set meanwhile.
        if not (0 <= at - judged_at < 1.0 and abs(base - judged_base) < 1.0):
            ahead = self.ahead
            self._judged = at, base
            self._correction = timedelta(seconds=ahead) if abs(ahead) > TOLERANCE else None
        return own if self._correction is None else own - self._correction


def _roughly(seconds: float) -> str:
    """One figure that does not change from second to second."""
    left = abs(seconds)
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if left >= 2 * unit:
            return f"{left / unit:.0f} {name}"
    return f"{round(left, -1):.0f} seconds"


def jitter(random: Random, seconds: float, share: float) -> float:
    """`seconds` ± `share` of it, uniformly: keeps a crowd from acting in step."""
    return seconds * (1 + share * (2 * random.random() - 1))
