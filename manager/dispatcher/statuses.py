"""Writes of the dispatcher: what agents report becomes store transactions, many reports in one.

The first change goes at once; what comes while it is being committed, and a little longer, shares the next
entries. Of two statuses of a task the larger state wins, so that late and repeated reports are harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec.structs import replace

from manager.store.store import Store
from manager.store.tx import Tx
from swarmcore.clock import Clock
from swarmcore.errors import Conflict, OutOfSequence, Unavailable
from swarmcore.model.task import TaskState, TaskStatus
from swarmcore.rpc.messages.session import StatusReport

log = logging.getLogger(__name__)

COALESCE = 0.02
RETRY = 0.1
MAX_TEXT = 4096  # characters of a status' message or error
TxChange = Callable[[Tx], None]


class Writer:
    """`submit` returns a future that is done when the changes are committed."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[tuple[TxChange, asyncio.Future[None] | None]] = []
        self._wake = asyncio.Event()

    def submit(self, changes: Sequence[TxChange]) -> asyncio.Future[None]:
        """In this order, though not necessarily in one transaction. A change must not raise."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not changes:
            future.set_result(None)
            return future
        self._waiting += [(change, None) for change in changes[:-1]]
        self._waiting.append((changes[-1], future))
        self._wake.set()
        return future

    def clear(self) -> None:
        """Forget what was submitted after the last lead ended."""
        for _, future in self._waiting:
            if future is not None:
                future.cancel()
        self._waiting.clear()

    async def run(self) -> None:
        """While this manager leads. When it ends, unanswered futures are cancelled: nobody may wait on them."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch, self._waiting = self._waiting, []
                try:
                    await self._write(batch)
                except BaseException:
                    self._waiting = batch + self._waiting
                    raise
                await self._clock.sleep(COALESCE)
        finally:
            self.clear()

    async def _write(self, batch: list[tuple[TxChange, asyncio.Future[None] | None]]) -> None:
        while True:
            try:
                await self._store.batch([change for change, _ in batch], _apply)
                break
            except (Unavailable, OutOfSequence, Conflict) as error:
                # Every change reads before it writes, so doing it again is safe; if this manager lost the
                # lead, whoever runs us ends us.
                log.info("status write postponed", extra={"error": str(error), "changes": len(batch)})
            await self._clock.sleep(RETRY)
        for _, future in batch:
            if future is not None and not future.done():
                future.set_result(None)


def _apply(tx: Tx, change: TxChange) -> None:
    change(tx)


def _later(new: datetime | None, old: datetime | None) -> bool:
    return old is None or (new is not None and new > old)


def _clipped(status: TaskStatus) -> TaskStatus:
    """An agent's texts are for people; nothing that a node says may fill the store."""
    if len(status.err) <= MAX_TEXT and len(status.message) <= MAX_TEXT:
        return status
    return replace(status, err=status.err[:MAX_TEXT], message=status.message[:MAX_TEXT])


def status_change(node_id: str, report: StatusReport) -> TxChange:
    """The change that takes over one report, if the node may report it and it is news."""

    def change(tx: Tx) -> None:
        task = tx.tasks.get(report.task_id)
        if task is None:
            return  # deleted meanwhile: there is nothing left to know
        new, old = _clipped(report.status), task.status
        if task.node_id != node_id:
            log.warning("node reports a foreign task", extra={"node": node_id, "task": task.id})
            return
        if not TaskState.ACCEPTED <= new.state <= TaskState.REJECTED:
            # ASSIGNED is what an agent repeats for a task that waits; everything else is not its to say.
            if new.state != TaskState.ASSIGNED:
                log.warning(
                    "node reports a state that is not its own", extra={"node": node_id, "task": task.id}
                )
            return
        if new.state < old.state or new == old:
            return
        if new.state == old.state and not _later(new.timestamp, old.timestamp):
            return
        tx.tasks.put(replace(task, status=new))

    return change
