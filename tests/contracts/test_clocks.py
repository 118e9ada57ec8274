"""Clocks: the host's, the swarm's, and those that tests move. Whoever is given one may not notice which it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from swarmcore.aio import owned
from swarmcore.clock import AgreedClock, Clock, RealClock
from tests.fakes.raft import StepClock
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.dispatcher.test_heartbeat import PausableClock
from tests.manager.orchestrator.world import LeadersClock
from tests.pki.clock import ManualClock

Story = Callable[[Clock], Awaitable[None]]
#: Seconds; the real clocks' sleepers wait for so long.
SHORT = 0.01
#: What clocks are rounded to.
ROUNDING = 1e-3


async def _by_hand(story: Story) -> None:
    """Jump to the next sleeper's moment whenever there is one."""
    clock = ManualClock()

    async def move() -> None:
        while True:
            await clock.advance_to_next()

    async with owned(move(), "the hand"):
        await story(clock)


async def _told(story: Story, clock: Clock) -> None:
    await story(clock)


def _run(kind: str, story: Story) -> None:
    match kind:
        case "the host's":
            asyncio.run(_told(story, RealClock()))
        case "the swarm's":
            asyncio.run(_told(story, AgreedClock(RealClock())))
        case "step":
            asyncio.run(_told(story, StepClock()))
        case "manual":
            asyncio.run(_by_hand(story))
        case "virtual":
            run_virtual(_told(story, LoopClock()))
        case "pausable":
            run_virtual(_told(story, PausableClock()))
        case "leaders'":
            run_virtual(_told(story, LeadersClock()))


REAL = ["the host's", "the swarm's"]
#: Two sleepers of one of these sleep at once; StepClock's sleep one after the other, and it says so.
SHARED = [*REAL, "manual", "virtual", "pausable", "leaders'"]
ALL = [*SHARED, "step"]


@pytest.mark.parametrize("kind", ALL)
def test_time_is_utc_and_does_not_run_backwards(kind: str) -> None:
    async def story(clock: Clock) -> None:
        now, moment = clock.now(), clock.monotonic()
        assert now.utcoffset() == timedelta()
        for _ in range(20):
            await clock.sleep(0)
            assert clock.now() >= now and clock.monotonic() >= moment
            now, moment = clock.now(), clock.monotonic()

    _run(kind, story)


@pytest.mark.parametrize("kind", ALL)
def test_a_sleep_takes_its_time_by_both_ways_to_read_it(kind: str) -> None:
    async def story(clock: Clock) -> None:
        now, moment = clock.now(), clock.monotonic()
        await clock.sleep(SHORT)
        assert clock.monotonic() - moment >= SHORT - ROUNDING
        assert clock.now() - now >= timedelta(seconds=SHORT - ROUNDING)

    _run(kind, story)


@pytest.mark.parametrize("kind", ALL)
def test_who_sleeps_lets_others_go_on(kind: str) -> None:
    async def story(clock: Clock) -> None:
        turns: list[int] = []

        async def other() -> None:
            turns.append(1)

        async with owned(other(), "the other"):
            await clock.sleep(0)
            assert turns == [1]

    _run(kind, story)


@pytest.mark.parametrize("kind", SHARED)
def test_sleepers_wake_in_the_order_of_their_moments(kind: str) -> None:
    async def story(clock: Clock) -> None:
        woken: list[float] = []

        async def sleeper(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        moments = [5 * SHORT, SHORT, 3 * SHORT]
        await asyncio.gather(*map(sleeper, moments))
        assert woken == sorted(moments)

    _run(kind, story)


@pytest.mark.parametrize("kind", SHARED)
def test_a_sleeper_can_be_cancelled_and_holds_nobody_up(kind: str) -> None:
    async def story(clock: Clock) -> None:
        woken: list[str] = []

        async def sleeper() -> None:
            try:
                await clock.sleep(3600)
            except asyncio.CancelledError:
                woken.append("cancelled")
                raise

        async with owned(sleeper(), "sleeper"):
            await asyncio.sleep(0)
        await clock.sleep(SHORT)
        assert woken == ["cancelled"]

    _run(kind, story)
