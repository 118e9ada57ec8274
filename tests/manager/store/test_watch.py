"""Feeds: every commit in order, or a clear word that some are missing."""

from __future__ import annotations

import asyncio

import pytest

from manager.store.watch import Commit, Lagged
from swarmcore.aio import owned
from swarmcore.model.task import Task
from tests.fakes.raft import solo_store
from tests.manager.store.objects import service, task


async def test_a_feed_tells_every_change_with_old_and_new() -> None:
    store, _ = solo_store()
    with store.view_and_watch() as (view, feed):
        assert view.index == 0
        async with store.update() as tx:
            tx.put(service("s1"))
        async with store.update() as tx:
            tx.put(service("s1", "web", version=1))
        async with store.update() as tx:
            tx.delete("s1")
        commits = [await feed.get() for _ in range(3)]
    assert [c.index for c in commits] == [1, 2, 3]
    kinds = [(c.kind, c.old is None, c.new is None) for commit in commits for c in commit.changes]
    assert kinds == [("create", True, False), ("update", False, False), ("remove", False, True)]
    assert [c.changes[0].object.id for c in commits] == ["s1"] * 3


async def test_a_waiting_reader_wakes_on_a_commit() -> None:
    store, _ = solo_store()
    got: list[Commit] = []
    with store.watch() as feed:

        async def read() -> None:
            got.append(await feed.get())

        async with owned(read(), "reader") as reader:
            await asyncio.sleep(0)
            async with store.update() as tx:
                tx.put(service("s1"))
            await reader
    assert [c.index for c in got] == [1]


async def test_a_waiting_reader_waits_on_when_another_has_drained_the_feed() -> None:
    store, _ = solo_store()
    with store.watch() as feed:
        async with owned(feed.get(), "reader") as reader:
            await asyncio.sleep(0)
            feed.offer(Commit(index=1, changes=()))
            assert [commit.index for commit in feed.drain()] == [1]
            await asyncio.sleep(0)
            feed.offer(Commit(index=2, changes=()))
            assert (await reader).index == 2


async def test_a_slow_reader_is_told_once_and_goes_on() -> None:
    store, _ = solo_store()
    with store.watch(limit=2) as feed:
        for number in range(4):
            async with store.update() as tx:
                tx.put(service(f"s{number}"))
        assert feed.drain() == ()
        with pytest.raises(Lagged):
            await feed.get()
        async with store.update() as tx:
            tx.put(service("s9"))
        assert (await feed.get()).index == 5
        assert feed.drain() == ()


async def test_a_restored_snapshot_makes_every_feed_lag() -> None:
    store, _ = solo_store()
    data = store.snapshot()()
    with store.watch() as feed:
        store.restore(data, 5)
        with pytest.raises(Lagged):
            await feed.get()


async def test_a_closed_feed_gets_nothing() -> None:
    store, _ = solo_store()
    with store.watch() as feed:
        pass
    async with store.update() as tx:
        tx.put(service("s1"))
    assert feed.drain() == ()


async def test_a_feed_of_some_kinds_is_not_woken_by_others() -> None:
    store, _ = solo_store()
    with store.watch(kinds=frozenset({Task})) as feed:
        async with store.update() as tx:
            tx.put(service("s"))
        assert feed.drain() == ()
        async with store.update() as tx:
            tx.put(task("t"))
            tx.put(service("s2"))
        async with store.update() as tx:
            tx.delete("t")
        assert [len(commit.changes) for commit in feed.drain()] == [2, 1]
