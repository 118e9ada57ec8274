"""A clock whose time the test moves; sleepers wake when their moment has come."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class ManualClock:
    def __init__(self, start: datetime = datetime(2031, 5, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._sleepers: list[tuple[datetime, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self._now.timestamp()

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        entry = (self._now + timedelta(seconds=seconds), woken)
        self._sleepers.append(entry)
        try:
            await woken.wait()
        finally:
            self._sleepers.remove(entry)

    def next_wake(self) -> datetime | None:
        return min((due for due, _ in self._sleepers), default=None)

    async def advance_to_next(self) -> float:
        """Wait for a sleeper, jump to its moment and let everything run; returns the seconds jumped."""
        while (due := self.next_wake()) is None:
            await asyncio.sleep(0)
        jumped = (due - self._now).total_seconds()
        self._now = max(self._now, due)
        for moment, woken in list(self._sleepers):
            if moment <= self._now:
                woken.set()
        await settle()
        return jumped


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)
