"""Time as an argument: a Clock is passed to whatever waits or stamps, so that tests own time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from random import Random
from typing import Protocol


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


def jitter(random: Random, seconds: float, share: float) -> float:
    """`seconds` ± `share` of it, uniformly: keeps a crowd from acting in step."""
    return seconds * (1 + share * (2 * random.random() - 1))
