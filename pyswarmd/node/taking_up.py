"""A daemon's start in a swarm that it is part of: tried again where that can help, told where it cannot.

The daemon serves its API all the same: `info` says what is wrong, and `leave --force` works.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from pyswarmd.node.membership import Status
from swarmcore.aio import Backoff, Tasks, end
from swarmcore.clock import Clock
from swarmcore.errors import Conflict, SwarmError, Unavailable
from swarmcore.process.faults import one_line, passes

log = logging.getLogger(__name__)


class TakingUp:
    """`attempt` takes the membership on disk up: False where there is none. Later attempts hold `turn`."""

    def __init__(
        self, attempt: Callable[[], Awaitable[bool]], turn: asyncio.Lock, clock: Clock, random: Random
    ) -> None:
        self._attempt, self._turn, self._clock, self._random = attempt, turn, clock, random
        self._tasks = Tasks()
        self._trying: asyncio.Task[None] | None = None
        #: Why this node is part of a swarm and takes no part in it.
        self.failure: SwarmError | None = None

    async def start(self) -> bool:
        """False where there is nothing to take up; else `failure` says whether it went well."""
        try:
            return await self._attempt()
        except (SwarmError, OSError) as error:
            if self._note(error):
                self._trying = self._tasks.start(self._again(), "take up the membership")
            return True

    def _note(self, error: SwarmError | OSError) -> bool:
        """True if it can pass: the port is in use, no other manager answers, the disk is full."""
        hopeful = isinstance(error, Unavailable | Conflict) or passes(error)
        self.failure = (
            error
            if isinstance(error, SwarmError)
            else Unavailable(one_line(error), "free what is used up on this host")
        )
        log.log(
            logging.WARNING if hopeful else logging.ERROR,
            "this node cannot take up its place in the swarm",
            extra={"reason": str(self.failure), "hint": self.failure.hint, "tries_again": hopeful},
        )
        return hopeful

    async def _again(self) -> None:
        backoff = Backoff(self._random, first=0.5)
        while True:
            await self._clock.sleep(backoff.next())
            async with self._turn:
                try:
                    await self._attempt()
                except (SwarmError, OSError) as error:
                    if not self._note(error):
                        return
                else:
                    self.failure = None
                    return

    async def stop(self) -> None:
        """No more attempts: somebody decides otherwise."""
        if self._trying is not None:
            await end(self._trying)
            self._trying = None

    async def close(self) -> None:
        await self._tasks.close()

    def check_leave(self, *, force: bool) -> None:
        if self.failure is not None and not force:
            raise Unavailable(
                f"this node cannot take up its place in the swarm: {self.failure}",
                'use "pyswarm leave --force" to leave anyway',
            )

    def refuse(self) -> None:
        """Raises where requests about the swarm cannot be answered for that reason."""
        if self.failure is not None:
            raise Unavailable(str(self.failure), self.failure.hint)

    def status(self) -> Status | None:
        if self.failure is None:
            return None
        hint = f" ({self.failure.hint})" if self.failure.hint else ""
        return Status(state="error", error=f"{self.failure}{hint}")
