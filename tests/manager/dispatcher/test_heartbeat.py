"""Leases of nodes."""

from __future__ import annotations

import asyncio

from manager.dispatcher.heartbeat import Leases
from swarmcore.aio import owned
from tests.fakes.virtual_time import LoopClock, run_virtual


class PausableClock(LoopClock):
    """Time that jumps, as it does for a process that was stopped."""

    def __init__(self) -> None:
        self.jumped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.jumped


def test_a_lease_that_nobody_renews_ends_within_a_tick() -> None:
    async def story() -> None:
        ended: list[tuple[float, list[str]]] = []
        clock = LoopClock()
        leases = Leases(clock)

        async def on_expired(node_ids: list[str]) -> None:
            ended.append((clock.monotonic(), node_ids))

        leases.renew("n1", 3)
        leases.renew("n2", 3)
        leases.renew("n3", 3)
        leases.end("n3")
        async with owned(leases.watch(on_expired), "leases"):
            await asyncio.sleep(2)
            leases.renew("n2", 3)
            await asyncio.sleep(8)
        assert [node_ids for _, node_ids in ended] == [["n1"], ["n2"]]
        assert 3 <= ended[0][0] <= 3.2 and 5 <= ended[1][0] <= 5.2

    run_virtual(story())


def test_a_manager_that_was_stopped_gives_the_lost_time_back() -> None:
    async def story() -> None:
        clock = PausableClock()
        leases = Leases(clock)
        ended: list[float] = []

        async def on_expired(node_ids: list[str]) -> None:
            ended.append(LoopClock().monotonic())

        leases.renew("n1", 3)
        async with owned(leases.watch(on_expired), "leases"):
            await asyncio.sleep(1)
            clock.jumped = 60.0
            await asyncio.sleep(1)
            assert ended == []
            await asyncio.sleep(3)
        assert 2.9 <= ended[0] <= 3.3

    run_virtual(story())
