"""The leader's loop that gives out what the swarm has: subnets, VNIs, addresses, ports. Tasks that have all go on.

NEW tasks become PENDING. What came in meanwhile is done together: fifty new tasks cost one raft entry. Everything is
made anew from the store whenever a write failed, so that what is given rests on commits alone.
"""

from __future__ import annotations

import asyncio
import logging
from random import Random

from manager.allocator.ledger import Ledger
from manager.allocator.tasks import MESSAGE
from manager.store.store import Store
from manager.store.watch import Feed, Lagged
from swarmcore.aio import in_turns
from swarmcore.clock import Clock
from swarmcore.errors import OutOfSequence, Unavailable
from swarmcore.ids import NewId, new_id

log = logging.getLogger(__name__)
RETRY = 0.1  # seconds until a lost write is planned again from the state

__all__ = ["MESSAGE", "RETRY", "Allocator"]


class Allocator:
    """Runs while this manager leads; its first pass looks at everything.

    `random` chooses VNIs, and shall be one that nobody can foretell.
    """

    def __init__(self, store: Store, clock: Clock, random: Random, new_id: NewId = new_id) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._random = random

    async def run(self) -> None:
        while True:
            try:
                await self._run()
            except Lagged:
                log.info("the allocator fell behind the store and starts over")
            except (Unavailable, OutOfSequence) as error:
                # Whether the write happened is what the state will say.
                log.info("tasks are allocated again in a moment", extra={"error": str(error)})
                await self._clock.sleep(RETRY)

    async def _run(self) -> None:
        with self._store.view_and_watch() as (view, feed):
            ledger = Ledger(self._new_id, self._random)
            await in_turns(ledger.load_in_turns(view))
            while True:
                while ledger.has_work:
                    await self._write(ledger, feed)
                    await asyncio.sleep(0)  # nothing to write is nothing to wait for
                ledger.note([await feed.get(), *feed.drain()], self._store.view())

    async def _write(self, ledger: Ledger, feed: Feed) -> None:
        """Not `transact`: what the ledger notes ahead of the commit must be noted once."""
        async with self._store.update() as tx:
            ledger.note(feed.drain(), self._store.view())
            if ledger.index != tx.base:
                raise Lagged("the allocator has missed commits")
            ledger.settle_due(tx)
