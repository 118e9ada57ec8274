"""Writers that come together share entries, and none of them notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.store.snapshot import decode_entry, encode_entry
from manager.store.store import Store
from manager.store.tx import MAX_BYTES, MAX_CHANGES, MAX_ENTRY, Overtaken, TooLarge, Tx
from swarmcore.errors import Conflict, NoLeader, NotFound, OutcomeUnknown, OutOfSequence
from swarmcore.model.secret import Secret, SecretSpec
from tests.fakes.raft import solo_store
from tests.manager.store.objects import node, service


async def together(store: Store, changes: Iterable[Callable[[Tx], Any]]) -> list[Any]:
    """All wait for the same turn; what each gave or raised."""
    async with store.update():  # holds them up
        tasks = [asyncio.ensure_future(store.transact(change)) for change in changes]  # noqa: TID251
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


def numbered(count: int, change: Callable[[Tx, int], Any]) -> list[Callable[[Tx], Any]]:
    """So many changes, of which each is told its number."""

    def nth(number: int) -> Callable[[Tx], Any]:
        return lambda tx: change(tx, number)

    return [nth(number) for number in range(count)]


async def test_waiting_transactions_commit_as_one_entry() -> None:
    store, raft = solo_store()
    await together(store, numbered(50, lambda tx, n: tx.put(service(f"s{n}", f"web{n}"))))
    assert len(store.view().services) == 50
    assert len(raft.log) == 1


async def test_what_fails_fails_alone_and_leaves_nothing() -> None:
    store, _ = solo_store()

    def half(tx: Tx) -> None:
        tx.put(service("s9", "half"))
        raise NotFound("its other half")

    results = await together(
        store,
        [
            lambda tx: tx.put(service("s1", "one")),
            half,
            lambda tx: tx.put(service("s2", "ONE")),
            lambda tx: tx.put(service("s3", "three")),
        ],
    )
    assert isinstance(results[1], NotFound)
    assert isinstance(results[2], Conflict)
    assert sorted(s.id for s in store.view().services) == ["s1", "s3"]


async def test_of_two_updates_of_one_version_one_wins() -> None:
    store, _ = solo_store()
    made = await store.transact(lambda tx: tx.put(service("s1", "web")))
    version = store.view().services.get("s1").version  # type: ignore[union-attr]

    def change(tx: Tx, text: str) -> None:
        tx.put(replace(made, version=version, spec=replace(made.spec, labels={"by": text})))

    results = await together(
        store,
        [
            lambda tx: tx.put(service("s2", "other")),
            lambda tx: change(tx, "first"),
            lambda tx: change(tx, "second"),
        ],
    )
    assert results[1] is None
    assert isinstance(results[2], OutOfSequence)
    found = store.view().services.get("s1")
    assert found is not None and found.spec.labels == {"by": "first"}


async def test_an_entry_holds_no_more_than_its_limit() -> None:
    store, raft = solo_store()

    def many(tx: Tx, start: int) -> None:
        for n in range(start, start + 80):
            tx.put(service(f"s{n}", f"web{n}"))

    await together(store, numbered(6, lambda tx, n: many(tx, 80 * n)))
    assert len(store.view().services) == 480
    assert max(len(decode_entry(entry).writes) for entry in raft.log) <= MAX_CHANGES


def large(id: str, size: int) -> Secret:
    return Secret(id=id, spec=SecretSpec(name=f"name-{id}", data=bytes(size)))


async def test_an_entry_that_is_shared_holds_no_more_bytes_than_its_limit() -> None:
    """A larger one than the streams between managers carry would never reach them."""
    store, raft = solo_store()
    await together(store, numbered(12, lambda tx, n: tx.put(large(f"s{n}", MAX_BYTES // 5))))
    assert len(store.view().secrets) == 12
    assert len(raft.log) == 3
    assert max(map(len, raft.log)) <= MAX_BYTES


async def test_a_change_that_is_larger_than_an_entry_fails_alone() -> None:
    store, raft = solo_store()
    results = await together(
        store,
        [
            lambda tx: tx.put(large("s1", 10)),
            lambda tx: tx.put(large("s2", MAX_ENTRY + 1)),
            lambda tx: tx.put(large("s3", MAX_ENTRY - 1000)),
            lambda tx: tx.put(large("s4", 10)),
        ],
    )
    assert [type(result) for result in results].count(TooLarge) == 1
    assert isinstance(results[1], TooLarge)
    assert sorted(s.id for s in store.view().secrets) == ["s1", "s3", "s4"]
    assert max(map(len, raft.log)) <= MAX_ENTRY
    with pytest.raises(TooLarge):
        async with store.update() as tx:
            tx.put(large("s5", MAX_ENTRY + 1))


async def test_what_is_written_again_counts_once_against_the_last_limit() -> None:
    store, raft = solo_store()
    async with store.update() as tx:
        made = tx.put(large("s1", MAX_ENTRY // 2))
        for _ in range(3):
            made = tx.put(made)
    assert len(raft.log) == 1


async def test_an_overtaken_group_runs_again() -> None:
    store, raft = solo_store()
    once = [True]

    def change(tx: Tx, n: int) -> None:
        if n == 2 and once.pop():
            once.append(False)
            raft.inject(encode_entry(store.view().index, [("nodes", "n1", node("n1"))]))
        tx.put(service(f"s{n}", f"web{n}"))

    await together(store, numbered(5, change))
    assert len(store.view().services) == 5


async def test_one_that_is_always_overtaken_gives_up() -> None:
    store, raft = solo_store()

    def change(tx: Tx) -> None:
        raft.inject(encode_entry(store.view().index, [("nodes", f"n{raft.index}", node(f"n{raft.index}"))]))
        tx.put(service("s1", "web"))

    with pytest.raises(Overtaken):
        await store.transact(change)
    await store.transact(lambda tx: tx.put(service("s2", "next")))


async def test_an_unknown_outcome_is_everybodys_of_that_entry() -> None:
    store, raft = solo_store()
    three = [lambda tx, n=n: tx.put(service(f"s{n}", f"w{n}")) for n in range(3)]
    raft.lose_next_answer(committed=False)
    results = await together(store, three)
    assert [type(result) for result in results] == [OutcomeUnknown] * 3

    def lose_the_lead(tx: Tx) -> None:
        raft.leading = False
        raise NoLeader("lost")

    results = await together(store, [lose_the_lead, lambda tx: tx.put(service("s5", "w5"))])
    assert [type(result) for result in results] == [NoLeader] * 2
    results = await asyncio.gather(*(store.transact(each) for each in three), return_exceptions=True)
    assert [type(result) for result in results] == [NoLeader] * 3


async def test_a_cancelled_writer_leaves_the_queue() -> None:
    store, raft = solo_store()
    async with store.update() as tx:  # holds the others up
        waiting = asyncio.ensure_future(store.transact(lambda tx: tx.put(service("s1", "one"))))  # noqa: TID251
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        tx.put(service("s2", "two"))
    await store.transact(lambda tx: tx.put(service("s3", "three")))
    assert sorted(s.id for s in store.view().services) == ["s2", "s3"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "delete", "fail"]), st.integers(0, 4), st.integers(0, 4)),
        max_size=12,
    )
)
async def test_a_group_gives_what_the_same_jobs_give_one_after_the_other(
    steps: list[tuple[str, int, int]],
) -> None:
    def job(kind: str, number: int, name: int):  # type: ignore[no-untyped-def]
        def change(tx: Tx) -> int:
            id = f"s{number}"
            old = tx.services.get(id)
            if kind == "delete":
                tx.services.delete(id)
            elif old is None:
                tx.put(service(id, f"web{name}"))
            else:
                tx.put(replace(old, spec=replace(old.spec, name=f"web{name}")))
            if kind == "fail":
                raise NotFound("on purpose")
            return len(tx.services)

        return change

    grouped, _ = solo_store()
    apart, _ = solo_store()
    jobs = [job(*step) for step in steps]
    mine = await together(grouped, jobs)
    theirs: list[Any] = []
    for each in jobs:
        theirs += await asyncio.gather(apart.transact(each), return_exceptions=True)
    assert [str(result) for result in mine] == [str(result) for result in theirs]
    assert names(grouped) == names(apart)


def names(store: Store) -> dict[str, str]:
    return {service.id: service.spec.name for service in store.view().services}
