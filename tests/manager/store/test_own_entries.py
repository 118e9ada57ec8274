"""A leader stores the objects that it wrote instead of decoding its own entry: it must be what others decode."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manager.store.snapshot import decode_entry, dump, encode_entry, load
from manager.store.store import Store
from swarmcore.model.base import Annotations
from swarmcore.model.container import ContainerSpec
from swarmcore.model.endpoint import Endpoint
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import Task, TaskSpec
from tests.fakes.raft import SoloRaft, StepClock

TEXTS = st.text(max_size=5)
SPECS = st.builds(
    TaskSpec,
    container_spec=st.builds(ContainerSpec, image=TEXTS, env=st.lists(TEXTS, max_size=2).map(tuple)),
    force_update=st.integers(0, 3),
)


def store() -> tuple[Store, SoloRaft]:
    made = Store(StepClock())
    raft = SoloRaft(made)
    made.attach(raft)
    return made, raft


async def write(made: Store, spec: TaskSpec, tasks: int) -> None:
    async with made.update() as tx:
        service = tx.put(
            Service(id="s", spec=ServiceSpec(name="web", task_template=spec), endpoint=Endpoint())
        )
        for number in range(tasks):
            # Specs of their own, as a follower decodes them.
            copy = TaskSpec(container_spec=spec.container_spec, force_update=spec.force_update)
            annotations = Annotations(name=service.spec.name)
            tx.put(
                Task(
                    id=f"t{number}",
                    spec=copy,
                    service_id="s",
                    endpoint=Endpoint(),
                    service_annotations=annotations,
                )
            )


@given(spec=SPECS, tasks=st.integers(0, 3))
async def test_a_leader_and_one_who_decodes_the_entry_hold_the_same(spec: TaskSpec, tasks: int) -> None:
    leader, raft = store()
    await write(leader, spec, tasks)
    follower = Store(StepClock())
    for index, data in enumerate(raft.log, 1):
        follower.apply(data, index)
    assert dump(follower.view()) == dump(leader.view())
    for table in ("services", "tasks"):
        assert list(follower.view().table(table)) == list(leader.view().table(table))


async def test_tasks_share_their_services_spec_where_it_is_equal() -> None:
    leader, raft = store()
    spec = TaskSpec(container_spec=ContainerSpec(image="app:1"))
    await write(leader, spec, 2)
    follower = Store(StepClock())
    for index, data in enumerate(raft.log, 1):
        follower.apply(data, index)
    _, restored, _ = load(dump(leader.view()))
    for tables in (leader.view().tasks, follower.view().tasks, restored["tasks"]):
        specs = {id(task.spec) for task in tables}
        assert len(specs) == 1
    service = follower.view().services.get("s")
    assert service is not None
    assert all(task.spec is service.spec.task_template for task in follower.view().tasks)


async def test_an_entry_that_is_not_the_leaders_own_is_decoded() -> None:
    leader, _ = store()
    await write(leader, TaskSpec(), 1)
    entry = encode_entry(leader.view().index, [("tasks", "t9", Task(id="t9", slot=4))])
    assert decode_entry(entry).base == leader.view().index
    leader.apply(entry, 50)
    found = leader.view().tasks.get("t9")
    assert found is not None
    assert (found.slot, found.version.index) == (4, 50)
