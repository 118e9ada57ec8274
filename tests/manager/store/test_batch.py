"""Batches are split, and others get their turn."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.store.snapshot import decode_entry, encode_entry
from manager.store.tx import MAX_BYTES, Tx
from swarmcore.model.secret import Config, ConfigSpec
from tests.fakes.raft import solo_store
from tests.manager.store.objects import node, task


def create(tx: Tx, number: int) -> None:
    tx.put(task(f"a{number}", slot=number))
    tx.put(task(f"b{number}", slot=number))
    tx.put(task(f"c{number}", slot=number))


async def test_a_batch_fills_entries_without_splitting_an_item() -> None:
    store, raft = solo_store()
    await store.batch(range(100), create)
    assert [len(decode_entry(data).writes) for data in raft.log] == [198, 102]
    assert len(store.view().tasks) == 300


async def test_a_batch_of_large_items_fills_entries_up_to_their_bytes() -> None:
    store, raft = solo_store()

    def large(tx: Tx, number: int) -> None:
        tx.put(Config(id=f"c{number}", spec=ConfigSpec(name=f"n{number}", data=bytes(MAX_BYTES // 3))))

    await store.batch(range(7), large)
    assert [len(decode_entry(data).writes) for data in raft.log] == [2, 2, 2, 1]
    assert max(map(len, raft.log)) <= MAX_BYTES


async def test_an_item_that_did_not_fit_leaves_no_trace_in_the_entry() -> None:
    store, raft = solo_store()
    await store.batch(range(3), create)

    def touch(tx: Tx, number: int) -> None:
        for letter in "abc":
            found = tx.tasks.get(f"{letter}{number}")
            assert found is not None
            tx.put(replace(found, node_id="n1"))

    await store.batch(range(3), touch, limit=4)
    assert [len(decode_entry(data).writes) for data in raft.log[1:]] == [3, 3, 3]
    assert len(store.view().tasks.find("node_id", "n1")) == 9


async def test_an_item_that_fails_keeps_what_was_sent_before() -> None:
    store, raft = solo_store()

    def change(tx: Tx, number: int) -> None:
        if number == 150:
            raise ZeroDivisionError
        create(tx, number)

    with pytest.raises(ZeroDivisionError):
        await store.batch(range(200), change)
    assert len(raft.log) == 2
    assert len(store.view().tasks) == 396


async def test_a_batch_that_is_overtaken_goes_on() -> None:
    store, raft = solo_store()
    seen: list[int] = []

    def change(tx: Tx, number: int) -> None:
        if not seen:
            raft.inject(encode_entry(0, [("nodes", "n1", node("n1"))]))
        seen.append(number)
        create(tx, number)

    await store.batch(range(2), change)
    assert seen == [0, 1, 0, 1]
    assert len(store.view().tasks) == 6
