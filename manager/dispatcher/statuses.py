"""Writes of the dispatcher: what agents report becomes store transactions, many reports in one.

The first change goes at once; what comes while it is being committed, and a little longer, shares the next
entries. Of two statuses of a task the larger state wins, so that late and repeated reports are harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from manager.rules.reports import checked_status
from manager.store.store import Store
from manager.store.tx import TooLarge, Tx
from swarmcore.clock import Clock
from swarmcore.errors import OutOfSequence, Unavailable
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.session import StatusReport
from swarmcore.rpc.refusals import Refusals

log = logging.getLogger(__name__)

COALESCE = 0.02
RETRY = 0.1
MAX_CHANGE = 2 << 20  # bytes of what one change writes: no honest one comes near
TxChange = Callable[[Tx], None]


class _Waiting:
    """Changes of one submission, and what became of them."""

    __slots__ = ("future", "left", "node_id", "refused")

    def __init__(self, node_id: str, left: int) -> None:
        self.node_id = node_id
        self.left = left
        self.refused = False
        self.future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def done(self, count: int) -> None:
        self.left -= count
        if not self.left and not self.future.done():
            self.future.set_result(not self.refused)


class _Item(Struct, frozen=True, gc=False):
    """Many of these may wait, and none of them is part of a cycle: the garbage collector need not look at them."""

    change: TxChange
    submission: _Waiting


class Writer:
    """`submit` returns a future that is done when the changes are committed: True if all of them could be.

    A change that fails is left out and logged: it rests on what one node has sent, and must not stop what others sent.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[_Item] = []
        self._wake = asyncio.Event()

    def submit(self, node_id: str, changes: Sequence[TxChange]) -> asyncio.Future[bool]:
        """In this order, though not necessarily in one transaction. `node_id`: whom they are about."""
        submission = _Waiting(node_id, len(changes))
        submission.done(0)
        self._waiting += [_Item(change, submission) for change in changes]
        self._wake.set()
        return submission.future

    def clear(self) -> None:
        """Forget what was submitted after the last lead ended."""
        for item in self._waiting:
            item.submission.future.cancel()
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

    async def _write(self, batch: list[_Item]) -> None:
        while True:
            try:
                await self._store.batch(batch, _apply)
                break
            except (Unavailable, OutOfSequence) as error:
                # Every change reads before it writes, so doing it again is safe; if this manager lost the
                # lead, whoever runs us ends us.
                log.info("status write postponed", extra={"error": str(error), "changes": len(batch)})
            await self._clock.sleep(RETRY)
        for item in batch:
            item.submission.done(1)


def _apply(tx: Tx, item: _Item) -> None:
    mark, size = tx.mark(), tx.size
    try:
        item.change(tx)
        if tx.size - size > MAX_CHANGE:
            raise TooLarge(f"a change of {tx.size - size} bytes")
    except Exception:
        tx.undo_to(mark)
        item.submission.refused = True
        log.exception("what a node told cannot be written", extra={"node": item.submission.node_id})


def _later(new: datetime | None, old: datetime | None) -> bool:
    return old is None or (new is not None and new > old)


class StatusChange(Struct, frozen=True, gc=False):
    """The change that takes over one report, if the node may report it and it is news."""

    node_id: str
    report: StatusReport
    refusals: Refusals

    def __call__(self, tx: Tx) -> None:
        task = tx.tasks.get(self.report.task_id)
        if task is None:
            return  # deleted meanwhile: there is nothing left to know
        new, old = checked_status(self.report.status, tx.now()), task.status
        if task.node_id != self.node_id:
            self.refusals.note(self.node_id, "it reports another node's task")
            return
        if not TaskState.ACCEPTED <= new.state <= TaskState.REJECTED:
            # ASSIGNED is what an agent repeats for a task that waits; everything else is not its to say.
            if new.state != TaskState.ASSIGNED:
                self.refusals.note(self.node_id, "it reports a state that is not its to say")
            return
        if new.state < old.state or new == old:
            return
        if new.state == old.state and not _later(new.timestamp, old.timestamp):
            return
        tx.tasks.put(replace(task, status=new))
