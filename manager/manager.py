"""Runs the loops that only a leader may run: started with the lead, ended with it, handed over when one fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from random import Random, SystemRandom
from typing import Protocol

from manager.allocator.allocator import Allocator
from manager.orchestrator.attachment_reaper import AttachmentReaper
from manager.orchestrator.network_reaper import NetworkReaper
from manager.orchestrator.orchestrator import Orchestrator
from manager.orchestrator.reaper import TaskReaper
from manager.raft.proposer import Proposer
from manager.scheduler.scheduler import Scheduler
from manager.store.store import Store
from manager.store.tx import Overtaken
from swarmcore.aio import Backoff, TaskGroup, owned
from swarmcore.clock import Clock
from swarmcore.errors import NoLeader, OutcomeUnknown, SwarmError
from swarmcore.ids import NewId, new_id

log = logging.getLogger(__name__)
HEALTHY_AFTER = 10.0  # seconds of leading without a failure after which the backoff starts anew


class Loop(Protocol):
    """A leader's loop: takes up the whole state first, then follows commits, until it is cancelled."""

    async def run(self) -> None: ...


#: Makes a loop for one term of leading; it may also give an object that can run again.
LoopFactory = Callable[[], Loop]


def own_loops(store: Store, clock: Clock, new_id: NewId) -> tuple[LoopFactory, ...]:
    """The loops that need nothing but the store."""
    return (
        lambda: Allocator(store, clock, SystemRandom(), new_id),
        lambda: Scheduler(store, clock),
        lambda: Orchestrator(store, clock, new_id),
        lambda: TaskReaper(store, clock),
        lambda: AttachmentReaper(store, clock),
        lambda: NetworkReaper(store, clock),
    )


class Manager:
    """`run` lives as long as this node is a manager. `loops` are those that also need what the process has."""

    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        clock: Clock,
        loops: Sequence[LoopFactory] = (),
        *,
        new_id: NewId = new_id,
        random: Random | None = None,
    ) -> None:
        self._proposer = proposer
        self._clock = clock
        self._loops = (*own_loops(store, clock, new_id), *loops)
        self._backoff = Backoff(random or Random())

    async def run(self) -> None:
        while True:
            await self._proposer.wait_lead(True)
            log.info("this manager leads", extra={"term": self._proposer.term})
            began = self._clock.monotonic()
            failures = await self._lead()
            if self._clock.monotonic() - began > HEALTHY_AFTER:
                self._backoff.reset()
            if failures is None:
                log.info("this manager does not lead any more", extra={"term": self._proposer.term})
                continue
            # A write that meets a change of the lead before its loop hears of it is no failure of the loop. If the
            # lead is still here, a fresh start from the state costs little and is always right.
            _, unexpected = failures.split((NoLeader, OutcomeUnknown, Overtaken))
            if unexpected is not None:
                log.error("a leader's loop failed", exc_info=unexpected)
                await self._hand_over()
            await self._clock.sleep(self._backoff.next())

    async def _lead(self) -> ExceptionGroup | None:
        """Run all loops while this manager leads; what they failed with, None if the lead ended first."""
        loops = [factory() for factory in self._loops]
        async with owned(self._proposer.wait_lead(False), "lead lost") as lost:
            try:
                async with TaskGroup() as group:
                    running = [group.create_task(_run(loop), name=type(loop).__name__) for loop in loops]
                    await asyncio.wait([lost, *running], return_when=asyncio.FIRST_COMPLETED)
                    for task in running:
                        task.cancel()
            except ExceptionGroup as failures:
                return failures
        return None

    async def _hand_over(self) -> None:
        """What fails here may work elsewhere; alone this manager goes on itself."""
        if not self._proposer.is_leader:
            return
        try:
            await self._proposer.transfer_lead()
        except SwarmError as error:
            log.warning("the lead stays here after a failure", extra={"reason": str(error)})


async def _run(loop: Loop) -> None:
    await loop.run()
    raise RuntimeError(f"{type(loop).__name__} has ended while this manager leads")
