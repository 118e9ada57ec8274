"""Statuses on their way to the leader: the newest per task is kept, sent in batches, until acknowledged.

A status that is replaced while its report travels is sent again; an acknowledgement clears exactly what
was sent. A new session starts over: what the old one had not acknowledged is unsent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import islice

import msgspec
from msgspec.structs import replace

from swarmcore.clock import Clock
from swarmcore.model.task import TaskStatus
from swarmcore.rpc.messages.session import StatusReport, StatusReports

BATCH = 1000
MAX_BYTES = 1 << 20  # of a batch: a message has to be smaller than the leader takes
MAX_TEXT = 4096  # characters of a status' message or error: more is not stored
# Fifty containers that come up together shall cost a few reports, one container no delay worth noticing.
COALESCE = 0.01


class Reporter:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._unsent: dict[str, TaskStatus] = {}
        self._flying: dict[int, Mapping[str, TaskStatus]] = {}
        self._number = 0
        self._wake = asyncio.Event()

    def put(self, task_id: str, status: TaskStatus) -> None:
        self._unsent[task_id] = replace(status, message=status.message[:MAX_TEXT], err=status.err[:MAX_TEXT])
        self._wake.set()

    def forget(self, task_id: str) -> None:
        """The manager has deleted the task; nobody waits for its state any more."""
        self._unsent.pop(task_id, None)

    def acknowledge(self, number: int) -> None:
        self._flying.pop(number, None)

    @property
    def pending(self) -> dict[str, TaskStatus]:
        """What no manager is known to have, newest per task."""
        merged: dict[str, TaskStatus] = {}
        for sent in self._flying.values():
            merged.update(sent)
        return merged | self._unsent

    def start_over(self, known: Mapping[str, TaskStatus]) -> None:
        """A new session: report everything once, because the new leader may know less than the old."""
        self._unsent.clear()
        self._flying.clear()
        for task_id, status in known.items():
            self.put(task_id, status)
        self._wake.set()

    def next_batch(self) -> StatusReports | None:
        """The next batch; its content stays pending until it is acknowledged."""
        if not self._unsent:
            return None
        chosen: dict[str, TaskStatus] = {}
        size = 0
        for task_id, status in islice(self._unsent.items(), BATCH):
            size += len(msgspec.msgpack.encode(status))
            if chosen and size > MAX_BYTES:
                break
            chosen[task_id] = status
        for task_id in chosen:
            del self._unsent[task_id]
        self._number += 1
        self._flying[self._number] = chosen
        reports = tuple(StatusReport(task_id=task_id, status=status) for task_id, status in chosen.items())
        return StatusReports(number=self._number, reports=reports)

    async def run(self, send: Callable[[StatusReports], Awaitable[None]]) -> None:
        """Send what comes, for as long as one session lives (until cancelled or `send` fails)."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (batch := self.next_batch()) is not None:
                await send(batch)
            await self._clock.sleep(COALESCE)
