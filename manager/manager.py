"""Runs the loops that only a leader may run: started with the lead, ended with it, handed over when one fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol

from manager.raft.proposer import Proposer
from manager.store.store import Store
from swarmcore.aio import Backoff, owned
from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, OutcomeUnknown, SwarmError

log = logging.getLogger(__name__)
HEALTHY_AFTER = 10.0  # seconds of leading without a failure after which the backoff starts anew


class Loop(Protocol):
    """A leader's loop: takes up the whole state first, then follows commits, until it is cancelled."""

    async def run(self) -> None: ...


#: Makes a loop for one term of leading; it may also give an object that can run again.
LoopFactory = Callable[[], Loop]


class Manager:
    """`run` lives as long as this node is a manager."""

    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        clock: Clock,
        *,
        loops: Sequence[LoopFactory] = (),
        random: Random | None = None,
    ) -> None:
        self._store = store
        self._proposer = proposer
        self._clock = clock
        self._loops = tuple(loops)
        self._backoff = Backoff(random or Random())

    async def run(self) -> None:
        while True:
            await self._proposer.wait_lead(True)
            log.info("this manager leads", extra={"term": self._proposer.term})
            began = self._clock.monotonic()
            failures = await self._lead()
            if self._clock.monotonic() - began > HEALTHY_AFTER:
                self._backoff.reset()
            if not failures:
                log.info("this manager does not lead any more", extra={"term": self._proposer.term})
                continue
            unexpected = [error for error in failures if not isinstance(error, NoLeader | OutcomeUnknown)]
            for error in unexpected:
                log.error("a leader's loop failed", exc_info=error)
            if unexpected:
                await self._hand_over()
            # Else a write met the loss of the lead before the loop heard of it. If the lead is still here, a fresh
            # start from the state costs little and is always right.
            await self._clock.sleep(self._backoff.next())

    async def _lead(self) -> list[Exception]:
        """Run all loops while this manager leads; what they failed with."""
        loops = [factory() for factory in self._loops]
        async with owned(self._proposer.wait_lead(False), "lead lost") as lost:
            try:
                async with asyncio.TaskGroup() as group:
                    running = [group.create_task(self._run(loop), name=type(loop).__name__) for loop in loops]
                    await asyncio.wait([lost, *running], return_when=asyncio.FIRST_COMPLETED)
                    for task in running:
                        task.cancel()
            except ExceptionGroup as group_of:
                return list(group_of.exceptions)
        return []

    async def _run(self, loop: Loop) -> None:
        await loop.run()
        raise RuntimeError(f"{type(loop).__name__} has ended while this manager leads")

    async def _hand_over(self) -> None:
        """What fails here may work elsewhere; alone this manager goes on itself."""
        if not self._proposer.is_leader:
            return
        try:
            await self._proposer.transfer_lead()
        except SwarmError as error:
            log.warning("the lead stays here after a failure", extra={"reason": str(error)})
