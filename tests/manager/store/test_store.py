"""Transactions, versions, views and the fate of entries."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from manager.store.snapshot import encode_entry
from manager.store.store import Store
from manager.store.tx import Overtaken, TooManyChanges, Tx
from swarmcore.errors import Conflict, NoLeader, NotFound, OutcomeUnknown, OutOfSequence
from swarmcore.model.base import Version
from tests.fakes.raft import StepClock, solo_store
from tests.manager.store.objects import node, secret, service, task


async def test_a_committed_object_has_its_entrys_version_and_times() -> None:
    store, raft = solo_store()
    async with store.update() as tx:
        tx.put(service("s1", "web"))
    stored = store.view().services.get("s1")
    assert stored is not None
    assert stored.version == Version(index=raft.index)
    assert stored.created_at == stored.updated_at is not None
    async with store.update() as tx:
        tx.services.put(replace(stored, spec=replace(stored.spec, name="api")))
    again = store.view().services.get("s1")
    assert again is not None
    assert (again.version.index, again.spec.name) == (2, "api")
    assert again.created_at == stored.created_at
    assert again.updated_at != stored.updated_at


async def test_a_block_that_raises_proposes_nothing() -> None:
    store, raft = solo_store()
    with pytest.raises(ZeroDivisionError):
        async with store.update() as tx:
            tx.put(service("s1"))
            raise ZeroDivisionError
    assert raft.log == []
    assert len(store.view().services) == 0


async def test_a_block_that_changes_nothing_proposes_nothing() -> None:
    store, raft = solo_store()
    async with store.update() as tx:
        tx.put(service("s1"))
        tx.delete("s1")
    assert raft.log == []


async def test_a_transaction_reads_its_own_writes() -> None:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(task("t1", slot=1))
        tx.put(task("t2", slot=2))
    async with store.update() as tx:
        tx.put(replace(tx.tasks.get("t1"), node_id="n1"))  # type: ignore[type-var]
        tx.delete("t2")
        tx.put(task("t3", slot=3))
        assert [t.id for t in tx.tasks.find("node_id", "n1")] == ["t1"]
        assert {t.id for t in tx.tasks.find("service_id", "s1")} == {"t1", "t3"}
        assert tx.tasks.find("place", ("s1", 2)) == ()
        assert {t.id for t in tx.tasks} == {"t1", "t3"}
        assert len(tx.tasks) == 2
        assert "t2" not in tx.tasks
        assert tx.tasks.get("t2") is None
    assert {t.id for t in store.view().tasks} == {"t1", "t3"}


async def test_an_update_of_a_stale_version_is_out_of_sequence() -> None:
    store, raft = solo_store()
    async with store.update() as tx:
        tx.put(service("s1"))
    old = store.view().services.get("s1")
    assert old is not None
    async with store.update() as tx:
        tx.put(old)
    with pytest.raises(OutOfSequence):
        async with store.update() as tx:
            tx.put(old)
    with pytest.raises(OutOfSequence):
        async with store.update() as tx:
            tx.put(service("s1"))
    async with store.update() as tx:
        tx.delete("s1")
    with pytest.raises(OutOfSequence):
        async with store.update() as tx:
            tx.put(old)
    assert raft.index == 3


async def test_a_name_is_taken_whatever_its_case() -> None:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(secret("x1", "Key"))
    with pytest.raises(Conflict):
        async with store.update() as tx:
            tx.put(secret("x2", "kEY"))
    async with store.update() as tx:
        tx.delete("x1")
        tx.put(secret("x2", "key"))
    assert [s.id for s in store.view().secrets.find("name", "KEY")] == ["x2"]


async def test_removing_what_is_not_there_says_so() -> None:
    store, _ = solo_store()
    with pytest.raises(NotFound):
        async with store.update() as tx:
            tx.delete("nothing")


async def test_a_view_never_changes() -> None:
    store, _ = solo_store()
    views = []
    for number in range(5):
        async with store.update() as tx:
            tx.put(task(f"t{number}", slot=number))
            if number >= 2:
                tx.delete(f"t{number - 2}")
        views.append((store.view(), [t.id for t in store.view().tasks]))
    for view, ids in views:
        assert [t.id for t in view.tasks] == ids
        assert [t.id for t in view.tasks.find("service_id", "s1")] == ids
    assert store.view() is store.view()


async def test_a_follower_refuses_before_the_block_runs() -> None:
    store, raft = solo_store()
    raft.leading = False
    ran = False
    with pytest.raises(NoLeader):
        async with store.update():
            ran = True
    assert not ran


async def test_a_new_leader_catches_up_once_a_term() -> None:
    store, raft = solo_store()
    for id in ("a", "b"):
        async with store.update() as tx:
            tx.put(node(id))
    assert raft.barriers == 1
    raft.term_now = 7
    async with store.update() as tx:
        tx.put(node("c"))
    assert raft.barriers == 2


async def test_an_entry_made_from_an_older_state_is_rejected_everywhere() -> None:
    store, raft = solo_store()
    other = Store(StepClock())
    raft.machines.append(other)
    stray = encode_entry(0, [("services", "late", service("late", "web"))])
    with pytest.raises(Overtaken):
        async with store.update() as tx:
            tx.put(service("s1", "web"))
            raft.inject(encode_entry(0, [("nodes", "n1", node("n1"))]))  # someone else was faster
    raft.inject(stray)
    for each in (store, other):
        assert [n.id for n in each.view().nodes] == ["n1"]
        assert len(each.view().services) == 0
        assert each.view().index == 1


async def test_a_function_is_run_again_when_it_was_overtaken() -> None:
    store, raft = solo_store()
    runs = 0

    def change(tx: Tx) -> int:
        nonlocal runs
        runs += 1
        if runs == 1:
            raft.inject(encode_entry(0, [("nodes", "n1", node("n1"))]))
        tx.put(service("s1"))
        return len(tx.nodes)

    assert await store.transact(change) == 1
    assert runs == 2


async def test_an_unknown_outcome_that_committed_does_not_hide_from_the_next_write() -> None:
    store, raft = solo_store()
    raft.lose_next_answer(committed=True)
    with pytest.raises(OutcomeUnknown):
        async with store.update() as tx:
            tx.put(service("s1", "web"))
    barriers = raft.barriers
    with pytest.raises(Conflict):
        async with store.update() as tx:
            tx.put(service("s2", "web"))
    assert raft.barriers == barriers + 1


async def test_writers_take_turns() -> None:
    store, _ = solo_store()
    async with store.update() as tx:
        tx.put(service("s1"))

    async def bump() -> None:
        async with store.update() as tx:
            found = tx.services.get("s1")
            assert found is not None
            await asyncio.sleep(0)
            tx.put(replace(found, spec=replace(found.spec, labels={"n": str(found.version.index)})))

    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(bump())
    found = store.view().services.get("s1")
    assert found is not None
    assert found.version.index == 11


async def test_a_transaction_that_outgrows_an_entry_is_refused() -> None:
    store, raft = solo_store()
    with pytest.raises(TooManyChanges):
        async with store.update() as tx:
            for number in range(201):
                tx.put(task(f"t{number}"))
    assert raft.log == []


async def test_a_snapshot_restores_objects_order_and_index() -> None:
    store, raft = solo_store()
    for number in range(3):
        async with store.update() as tx:
            tx.put(task(f"t{number}", slot=number, node_id="n1"))
            tx.put(service(f"s{number}"))
    serialise = store.snapshot()
    expected = store.view()
    async with store.update() as tx:
        tx.delete("t1")
    copy = Store(StepClock())
    copy.restore(serialise(), 3)
    for table in ("tasks", "services"):
        assert list(copy.view().table(table)) == list(expected.table(table))
    assert copy.view().tasks.find("node_id", "n1") == expected.tasks.find("node_id", "n1")
    copy.apply(raft.log[3], 4)
    assert list(copy.view().tasks) == list(store.view().tasks)
