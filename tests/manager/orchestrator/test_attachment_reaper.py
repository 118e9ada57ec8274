"""Tasks of containers outside of services go when they have ended, or when nobody can end them."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from manager.orchestrator.attachment_reaper import AttachmentReaper
from manager.orchestrator.orchestrator import Orchestrator
from manager.orchestrator.reaper import TaskReaper
from swarmcore.aio import owned
from swarmcore.ids import new_id
from swarmcore.model.network import NetworkAttachmentConfig
from swarmcore.model.node import NodeState, NodeStatus
from swarmcore.model.task import NetworkAttachmentSpec, RuntimeType, Task, TaskSpec, TaskState, TaskStatus
from tests.manager.control.bench import Bench

S = TaskState


def attachment(id: str, state: TaskState, desired: TaskState = S.RUNNING, node_id: str = "n1") -> Task:
    return Task(
        id=id,
        node_id=node_id,
        spec=TaskSpec(
            runtime=RuntimeType.ATTACHMENT,
            network_attachment_spec=NetworkAttachmentSpec(container_id="c1"),
            networks=(NetworkAttachmentConfig(target="net"),),
        ),
        desired_state=desired,
        status=TaskStatus(state=state),
    )


@pytest.fixture
async def bench() -> Bench:
    bench = await Bench().begin()
    await bench.node("n1")
    await bench.node("dead", state=NodeState.DOWN)
    return bench


async def put(bench: Bench, *tasks: Task) -> None:
    async with bench.store.update() as tx:
        for task in tasks:
            known = tx.tasks.get(task.id)
            tx.tasks.put(replace(task, version=known.version) if known is not None else task)


async def left(bench: Bench) -> set[str]:
    """Once the loops have nothing to do."""
    for _ in range(60):
        await asyncio.sleep(0)
    return {task.id for task in bench.store.view().tasks}


STAYS = (
    attachment("runs", S.RUNNING),
    attachment("new", S.NEW),
    attachment("pending", S.PENDING),
    attachment("ending", S.RUNNING, S.REMOVE),
    attachment("untold", S.RUNNING, node_id="dead"),
)
GOES = (
    attachment("complete", S.COMPLETE),
    attachment("failed", S.FAILED),
    attachment("rejected", S.REJECTED),
    attachment("orphaned", S.ORPHANED),
    attachment("ended", S.SHUTDOWN, S.REMOVE),
    attachment("never came", S.PENDING, S.REMOVE),
    attachment("lost", S.RUNNING, S.REMOVE, node_id="dead"),
    attachment("no node", S.RUNNING, node_id="gone"),
)


async def test_a_new_leader_deletes_what_is_over_and_nothing_else(bench: Bench) -> None:
    await put(bench, *STAYS, *GOES, replace(GOES[0], id="not ours", service_id="web"))
    async with owned(AttachmentReaper(bench.store, bench.clock).run(), "reaper"):
        assert await left(bench) == {task.id for task in STAYS} | {"not ours"}


async def test_what_ends_under_its_eyes_goes(bench: Bench) -> None:
    async with owned(AttachmentReaper(bench.store, bench.clock).run(), "reaper"):
        await put(bench, *STAYS)
        assert await left(bench) == {task.id for task in STAYS}
        await put(bench, attachment("ending", S.SHUTDOWN, S.REMOVE), attachment("new", S.NEW, S.REMOVE))
        assert await left(bench) == {"runs", "pending", "untold"}


async def test_the_attachments_of_a_removed_node_go_with_it(bench: Bench) -> None:
    await put(bench, attachment("t1", S.RUNNING), attachment("t2", S.RUNNING, node_id="dead"))
    async with owned(AttachmentReaper(bench.store, bench.clock).run(), "reaper"):
        async with bench.store.update() as tx:
            tx.nodes.delete("n1")
        assert await left(bench) == {"t2"}


async def test_a_node_that_dies_need_not_end_what_shall_be_removed(bench: Bench) -> None:
    await put(bench, attachment("t1", S.RUNNING, S.REMOVE), attachment("t2", S.RUNNING))
    async with owned(AttachmentReaper(bench.store, bench.clock).run(), "reaper"):
        assert await left(bench) == {"t1", "t2"}
        async with bench.store.update() as tx:
            node = tx.nodes.get("n1")
            assert node is not None
            tx.nodes.put(replace(node, status=NodeStatus(state=NodeState.DOWN)))
        assert await left(bench) == {"t2"}


async def test_the_loops_of_services_leave_attachments_alone(bench: Bench) -> None:
    await put(bench, *STAYS, *GOES)
    every = {task.id for task in (*STAYS, *GOES)}
    orchestrator = Orchestrator(bench.store, bench.clock, new_id)
    async with (
        owned(TaskReaper(bench.store, bench.clock).run(), "reaper") as one,
        owned(orchestrator.run(), "orchestrator") as two,
    ):
        async with bench.store.update() as tx:
            tx.nodes.delete("dead")
        assert await left(bench) == every
        assert not one.done()
        assert not two.done()
    assert all(task.desired_state in (S.RUNNING, S.REMOVE) for task in bench.store.view().tasks)
    assert len(bench.store.view().tasks) == len(every)
