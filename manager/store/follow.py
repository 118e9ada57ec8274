"""The skeleton of a leader's loop: the whole state first, then commits, all that came together taken as one."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from manager.store.store import Store
from manager.store.tables import View
from manager.store.watch import Commit, Feed, Kinds, Lagged
from swarmcore.aio import owned
from swarmcore.clock import Clock

log = logging.getLogger(__name__)
_COMMITS = 20  # are taken without a turn for others; one may have 200 changes


class Follower(Protocol):
    """What a loop does. It plans on the whole state, so it does not matter which commit woke it."""

    def begin(self, view: View) -> None:
        """Forget everything and take up this state."""
        ...

    def note(self, commit: Commit) -> None:
        """Note what this commit makes worth a look."""
        ...

    async def act(self) -> float | None:
        """Do what is due. Returns when to be called again at the latest (the clock's monotonic time), if ever."""
        ...


async def follow(store: Store, clock: Clock, follower: Follower, kinds: Kinds | None = None) -> None:
    """For ever. A loop that lags behind the commits starts over from the state.

    Of `kinds` are the objects whose changes it must hear of; None: of all.
    """
    while True:
        with store.view_and_watch(kinds=kinds) as (view, feed):
            follower.begin(view)
            due = await follower.act()
            try:
                while True:
                    if (commit := await _next(feed, clock, due)) is not None:
                        follower.note(commit)
                    for position, more in enumerate(feed.drain(), 1):
                        follower.note(more)
                        if position % _COMMITS == 0:
                            await asyncio.sleep(0)
                    due = await follower.act()
            except Lagged:
                log.info("a loop starts over from the state", extra={"loop": type(follower).__name__})


async def _next(feed: Feed, clock: Clock, due: float | None) -> Commit | None:
    """The next commit; None when it is time."""
    if due is None:
        return await feed.get()
    left = due - clock.monotonic()
    if left <= 0:
        return None
    async with owned(_get(feed), "next commit") as getter, owned(clock.sleep(left), "due") as timer:
        await asyncio.wait({getter, timer}, return_when=asyncio.FIRST_COMPLETED)
        got: Commit | Lagged | None = getter.result() if getter.done() else None
    if isinstance(got, Lagged):
        raise got
    return got


async def _get(feed: Feed) -> Commit | Lagged:
    """Lagging is no failure of the task that waits: raised there it would be logged as one."""
    try:
        return await feed.get()
    except Lagged as lagged:
        return lagged
