"""Many changes in many entries: each entry stays small, and other writers get their turn between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from manager.store.tx import ATTEMPTS, MAX_CHANGES, Overtaken, Tx

T = TypeVar("T")
MAX_ITEMS = 1_000  # are looked at for one entry: those that change nothing take time too
Update = Callable[[], AbstractAsyncContextManager[Tx]]


async def batch(
    update: Update, items: Iterable[T], change: Callable[[Tx, T], None], *, limit: int = MAX_CHANGES
) -> None:
    """Run `change(tx, item)` for every item; the changes of one item commit together.

    An entry takes as many items as fit `limit` changes and MAX_BYTES. `change` sees the store as it is then, may
    run twice for an item, and must bear that others wrote since the items were listed. If it
    raises, the items of entries that were sent before stay.
    """
    todo = list(items)
    done = failures = 0
    while done < len(todo):
        try:
            done = await _one_entry(update, todo, done, change, limit)
            failures = 0
            # Nothing to write is nothing to wait for, and others must have their turns.
            await asyncio.sleep(0)
        except Overtaken:
            failures += 1
            if failures >= ATTEMPTS:
                raise


async def _one_entry(
    update: Update, todo: list[T], start: int, change: Callable[[Tx, T], None], limit: int
) -> int:
    """Commit the items from `start` that fit; returns the position of the first that did not."""
    end = min(start + MAX_ITEMS, len(todo))
    async with update() as tx:
        for position in range(start, end):
            mark = tx.mark()
            change(tx, todo[position])
            if mark and (len(tx) > limit or not tx.fits):
                tx.undo_to(mark)
                return position
    return end
