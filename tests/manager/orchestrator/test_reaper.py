"""Which tasks are deleted: those to be removed once they have ended, and history that nobody needs any more."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.orchestrator.reaper import TaskReaper
from manager.store.store import Store
from swarmcore.aio import owned
from swarmcore.model.base import Version
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, Cluster, Orchestration
from swarmcore.model.node import Node, NodeState
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.service import Service, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskStatus
from tests.fakes.raft import SoloRaft, solo_store
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.orchestrator.objects import S, at, node, service, task, template

TWICE = RestartPolicy(max_attempts=1)
NEVER = RestartPolicy(condition=RestartCondition.NONE)
DOWN = node(state=NodeState.DOWN)
UPDATING = UpdateStatus(state=UpdateState.UPDATING, started_at=at(0))


def cluster(limit: int) -> Cluster:
    orchestration = Orchestration(task_history_retention_limit=limit)
    return Cluster(id="c", spec=replace(DEFAULT_SWARM_SPEC, orchestration=orchestration))


def old(number: int, policy: RestartPolicy | None = None, version: int = 1, image: str = "web:1") -> Task:
    """The slot's ended task number `number`."""
    spec = template(image, policy)
    return task(f"old{number}", 1, S.FAILED, S.SHUTDOWN, created=number, version=version, spec=spec)


def left(*before: Task | Node | Service | Cluster, then: tuple[Task | Node | Service, ...] = ()) -> list[str]:
    """Ids of the tasks that stay, oldest first, and that the reaper rests after that."""
    found: list[str] = []

    async def story() -> None:
        store, raft = solo_store()
        clock = LoopClock()
        await _put(store, *before)
        async with owned(TaskReaper(store, clock).run(), "reaper") as loop:
            await clock.sleep(1)
            if then:
                await _put(store, *then)
                await clock.sleep(1)
            await _rests(raft, clock)
            assert not loop.done()
            tasks = sorted(store.view().tasks, key=lambda t: (t.created_at or at(0), t.id))
            found.extend(task.id for task in tasks)

    run_virtual(story())
    return found


async def _put(store: Store, *objects: Task | Node | Service | Cluster) -> None:
    tables = {Task: "tasks", Node: "nodes", Service: "services", Cluster: "clusters"}
    async with store.update() as tx:
        for obj in objects:
            known = tx.table(tables[type(obj)]).get(obj.id)
            tx.put(replace(obj, version=known.version if known is not None else Version()))


async def _rests(raft: SoloRaft, clock: LoopClock) -> None:
    before = len(raft.log)
    await clock.sleep(60)
    assert len(raft.log) == before


@pytest.mark.parametrize(
    ("removed", "where", "stays"),
    [
        (task(state=S.RUNNING, desired=S.REMOVE), node(), True),
        (task(state=S.RUNNING, desired=S.REMOVE), node(state=NodeState.UNKNOWN), True),
        (task(state=S.SHUTDOWN, desired=S.REMOVE), node(), False),
        (task(state=S.FAILED, desired=S.REMOVE), node(), False),
        (task(state=S.RUNNING, desired=S.REMOVE), DOWN, False),
        (task(state=S.RUNNING, desired=S.REMOVE, node_id="gone"), node(), False),
        (task(state=S.PENDING, desired=S.REMOVE, node_id=""), node(), False),
        (task(state=S.RUNNING, desired=S.SHUTDOWN), node(), True),
    ],
    ids=[
        "runs",
        "runs on a silent node",
        "has stopped",
        "has failed",
        "its node is down",
        "its node is gone",
        "never had a node",
        "is not to be removed",
    ],
)
def test_a_task_to_be_removed_goes_once_it_has_ended_or_nobody_can_tell(
    removed: Task, where: Node, stays: bool
) -> None:
    assert left(service(), where, removed) == (["t1"] if stays else [])


def test_it_goes_as_soon_as_its_end_is_told_or_its_node_goes_down() -> None:
    removed = task(desired=S.REMOVE)
    assert left(service(), node(), removed, then=(task(state=S.SHUTDOWN, desired=S.REMOVE),)) == []
    assert left(service(), node(), removed, then=(DOWN,)) == []


@pytest.mark.parametrize(("limit", "stay"), [(-1, 9), (0, 1), (1, 1), (3, 3), (20, 9)])
def test_the_newest_tasks_of_a_slot_stay(limit: int, stay: int) -> None:
    tasks = [*(old(n) for n in range(8)), task("live", created=9)]
    assert left(service(), node(), cluster(limit), *tasks) == [t.id for t in tasks][-stay:]


def test_without_a_cluster_object_five_stay() -> None:
    assert len(left(service(), node(), *(old(n) for n in range(8)), task("live", created=9))) == 5


def test_each_slot_has_its_own_history() -> None:
    other = replace(task("other", 2, S.FAILED, S.SHUTDOWN), created_at=at(-5))
    tasks = [old(1), old(2), task("live", created=9), other, task("live2", 2, created=10)]
    assert left(service(2), node(), cluster(2), *tasks) == ["other", "old2", "live", "live2"]


def test_history_that_still_runs_waits_until_it_has_stopped() -> None:
    stopping = task("stopping", desired=S.SHUTDOWN)
    live = task("live", created=9)
    assert left(service(), node(), cluster(1), stopping, live) == ["stopping", "live"]
    stopped = task("stopping", state=S.SHUTDOWN, desired=S.SHUTDOWN)
    assert left(service(), node(), cluster(1), stopping, live, then=(stopped,)) == ["live"]
    assert left(service(), DOWN, cluster(1), stopping, replace(live, node_id="n2"), node("n2")) == ["live"]


@pytest.mark.parametrize("limit", [0, 20, -1])
def test_as_many_stay_as_the_attempts_that_are_counted(limit: int) -> None:
    tasks = [old(n, TWICE) for n in range(4)]
    assert left(service(), node(), cluster(limit), *tasks) == ["old2", "old3"]


def test_failures_that_are_counted_stay_though_the_task_was_moved_often_since() -> None:
    failed = [old(n, TWICE) for n in range(3)]
    moved = [replace(old(n, TWICE), status=TaskStatus(state=S.SHUTDOWN)) for n in range(3, 8)]
    runs = task("runs", created=9, spec=template(policy=TWICE))
    assert left(service(), node(), *failed, *moved, runs) == ["old2", "runs"]


def test_attempts_are_kept_beside_the_old_task_of_a_start_first_update() -> None:
    live = task("live", created=-1, spec=template(policy=TWICE))
    attempts = [old(1, TWICE, 2), old(2, TWICE, 2)]
    assert left(service(version=2), node(), live, *attempts) == ["live", "old1", "old2"]


@pytest.mark.parametrize("limit", [0, 2])
def test_that_the_newest_spec_was_given_up_beside_an_old_task_is_remembered(limit: int) -> None:
    live = task("live", created=-1, spec=template(policy=NEVER))
    tasks = [live, old(1, version=1), old(2, NEVER, 2)]
    assert left(service(version=2), node(), cluster(limit), *tasks) == ["live", "old2"]


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_the_predecessor_of_a_task_that_waits_stays_though_a_third_runs_beside_it(limit: int) -> None:
    live = task("live", created=-1)
    waits = task("waits", 1, S.READY, S.READY, created=9, version=2)
    tasks = [live, old(1, version=2), old(2, version=2), waits]
    assert left(service(version=2), node(), cluster(limit), *tasks) == ["live", "old2", "waits"]


@pytest.mark.parametrize("limit", [0, 2])
def test_an_updates_first_task_and_what_it_replaced_stay_until_it_is_over(limit: int) -> None:
    live = task("live", created=9, version=2)
    tasks = [old(1), old(2), old(3, version=2), old(4, version=2), live]
    under_way = service(version=2, status=UPDATING)
    during = ["old2", "old3", "live"]
    assert left(under_way, node(), cluster(limit), *tasks) == during
    done = replace(under_way, update_status=replace(UPDATING, state=UpdateState.COMPLETED))
    after = left(under_way, node(), cluster(limit), *tasks, then=(done,))
    assert after == during[-max(limit, 1) :]


def test_tasks_of_a_vanished_service_are_left_to_whoever_removes_them() -> None:
    assert left(node(), task("live"), old(1)) == ["live", "old1"]


def test_attempts_leave_room_for_a_task_of_an_older_spec_while_few_were_made() -> None:
    live = task("live", created=9, version=2, spec=template(policy=TWICE))
    assert left(service(version=2), node(), cluster(0), old(1), old(2), live) == ["old2", "live"]


def test_each_node_has_its_own_history_where_a_service_has_one_task_a_node() -> None:
    tasks = [
        replace(task(f"{id}{number}", 0, node_id=id, created=number), desired_state=desired, status=status)
        for id in ("n1", "n2")
        for number, desired, status in (
            (1, S.SHUTDOWN, TaskStatus(state=S.FAILED)),
            (2, S.SHUTDOWN, TaskStatus(state=S.FAILED)),
            (3, S.RUNNING, TaskStatus(state=S.RUNNING)),
        )
    ]
    stay = left(service(), node("n1"), node("n2"), cluster(2), *tasks)
    assert sorted(stay) == ["n12", "n13", "n22", "n23"]
