from __future__ import annotations

import asyncio
from random import Random

from msgspec.structs import replace

from manager.allocator.allocator import MESSAGE, Allocator
from manager.store.store import Store
from manager.store.tx import MAX_BYTES
from swarmcore.aio import owned
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.fakes.raft import solo_store
from tests.fakes.virtual_time import LoopClock, run_virtual


def new(task_id: str, desired: TaskState = TaskState.RUNNING) -> Task:
    return Task(
        id=task_id, service_id="s1", slot=1, desired_state=desired, status=TaskStatus(message="created")
    )


async def put(store: Store, *tasks: Task) -> None:
    async with store.update() as tx:
        for each in tasks:
            tx.tasks.put(each)


async def until_pending(store: Store, number: int) -> list[Task]:
    with store.watch() as feed:
        while True:
            found = [t for t in store.view().tasks if t.status.state is TaskState.PENDING]
            if len(found) >= number:
                return found
            await feed.get()


def test_new_tasks_become_pending_in_one_entry() -> None:
    async def story() -> None:
        store, raft = solo_store()
        async with owned(Allocator(store, LoopClock(), Random(7)).run(), "allocator"):
            await asyncio.sleep(0)
            await put(store, *(new(f"t{i}") for i in range(50)))
            found = await until_pending(store, 50)
        assert len(raft.log) == 2
        assert {t.status.message for t in found} == {MESSAGE}
        assert all(t.status.timestamp is not None for t in found)

    run_virtual(story())


def test_a_new_leader_takes_up_what_it_finds() -> None:
    async def story() -> None:
        store, raft = solo_store()
        await put(store, *(new(f"t{i}") for i in range(200)))
        await put(store, *(new(f"u{i}") for i in range(150)))
        async with owned(Allocator(store, LoopClock(), Random(7)).run(), "allocator"):
            await until_pending(store, 350)
        assert len(raft.log) == 4  # 350 changes do not fit one entry

    run_virtual(story())


def test_large_tasks_are_allocated_in_as_many_entries_as_they_take() -> None:
    async def story() -> None:
        store, raft = solo_store()
        for i in range(5):
            await put(store, replace(new(f"t{i}"), labels={"large": "x" * (MAX_BYTES // 2 - 1000)}))
        async with owned(Allocator(store, LoopClock(), Random(7)).run(), "allocator"):
            await until_pending(store, 5)
        assert len(raft.log) == 5 + 3
        assert max(map(len, raft.log)) <= MAX_BYTES

    run_virtual(story())


def test_a_task_that_was_given_up_while_new_is_left_alone() -> None:
    async def story() -> None:
        store, _ = solo_store()
        async with owned(Allocator(store, LoopClock(), Random(7)).run(), "allocator"):
            await put(store, new("t1", TaskState.REMOVE), new("t2", TaskState.READY))
            assert [t.id for t in await until_pending(store, 1)] == ["t2"]
            await asyncio.sleep(1)
        gone = store.view().tasks.get("t1")
        assert gone is not None
        assert gone.status.state is TaskState.NEW

    run_virtual(story())


def test_a_lost_answer_is_planned_again_from_the_state() -> None:
    async def story() -> None:
        for committed in (True, False):
            store, raft = solo_store()
            await put(store, new("t1"))
            raft.lose_next_answer(committed=committed)
            async with owned(Allocator(store, LoopClock(), Random(7)).run(), "allocator"):
                await until_pending(store, 1)
                await put(store, new("t2"))
                await until_pending(store, 2)

    run_virtual(story())


def test_a_snapshot_from_another_leader_is_taken_up() -> None:
    async def story() -> None:
        store, _ = solo_store()
        other, _ = solo_store()
        await put(other, new("t1"))
        dump = other.snapshot()()
        async with owned(Allocator(store, LoopClock(), Random(7)).run(), "allocator"):
            await asyncio.sleep(1)
            store.restore(dump, 1)
            await until_pending(store, 1)

    run_virtual(story())
