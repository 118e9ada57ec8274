"""One entry of the ledger: what it notes ahead is true once it commits, and what does not fit comes with the next."""

from __future__ import annotations

from random import Random

from manager.allocator.ledger import Ledger
from manager.store.tables import View
from manager.store.tx import MAX_CHANGES
from swarmcore.aio import at_once
from swarmcore.ids import new_id
from swarmcore.model.task import TaskState
from tests.fakes.raft import solo_store
from tests.manager.allocator.world import cluster, task


def loaded(view: View) -> Ledger:
    ledger = Ledger(new_id, Random(1))
    at_once(ledger.load_in_turns(view))
    return ledger


async def test_what_does_not_fit_an_entry_comes_with_the_next_one_and_then_nothing_is_left() -> None:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(cluster())
        for number in range(MAX_CHANGES - 1):
            tx.put(task(f"t{number:03}"))
    async with store.update() as tx:
        for number in range(10):
            tx.put(task(f"u{number:03}"))
    ledger = loaded(store.view())
    pending: list[int] = []
    with store.watch() as feed:
        while ledger.has_work:
            async with store.update() as tx:
                assert ledger.index == tx.base
                ledger.settle_due(tx)
            ledger.note(feed.drain(), store.view())
            pending.append(sum(t.status.state is TaskState.PENDING for t in store.view().tasks))
    assert pending[0] < len(store.view().tasks) == pending[-1]
    assert not loaded(store.view()).has_work
