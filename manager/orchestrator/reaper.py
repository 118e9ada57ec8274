"""The loop that deletes tasks nobody needs: those to be removed that have ended, and history beyond its limit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from manager.orchestrator.restart_policy import age, ended_by_itself, policy_of
from manager.orchestrator.update_plan import UNDER_WAY, first_task
from manager.rules.current import is_lost
from manager.store.follow import follow
from manager.store.store import Store
from manager.store.tables import View
from manager.store.tx import Tx
from manager.store.watch import Commit
from swarmcore.aio import Turns, in_turns, stretches
from swarmcore.clock import Clock
from swarmcore.model.cluster import Cluster
from swarmcore.model.node import Node, NodeState
from swarmcore.model.place import Place, place_of
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState

DEFAULT_HISTORY = 5
_Key = tuple[str, Place]  # service id, place


class TaskReaper:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._dirty: dict[_Key, None] = {}

    async def run(self) -> None:
        await follow(self._store, self._clock, self, frozenset({Task, Service, Cluster, Node}))

    # -- Follower ----------------------------------------------------------------------------------
    def begin(self, view: View) -> None:
        self._dirty = _keys(view.tasks)

    def note(self, commit: Commit) -> None:
        for change in commit.changes:
            match change.new or change.old:
                case Task() as task:
                    self._dirty[_key(task)] = None
                case Service() as service:  # an update that ends needs its predecessors no more
                    tasks = self._store.view().tasks.find("service_id", service.id)
                    self._dirty |= _keys(tasks)
                case Cluster():
                    self.begin(self._store.view())
                case Node() as node if change.new is None or node.status.state is NodeState.DOWN:
                    tasks = self._store.view().tasks.find("node_id", node.id)
                    self._dirty |= _keys(tasks)

    async def act(self) -> float | None:
        if not self._dirty:
            return None
        view = self._store.view()
        dead = await in_turns(_useless_in_turns(view, self._dirty))
        if dead:
            await self._store.batch(dead, _delete)
        self._dirty.clear()
        return None


def _key(task: Task) -> _Key:
    return task.service_id, place_of(task)


def _keys(tasks: Iterable[Task]) -> dict[_Key, None]:
    return dict.fromkeys(map(_key, tasks))


def _useless_in_turns(view: View, places: Iterable[_Key]) -> Turns[list[str]]:
    """The ids of the tasks that may go."""
    dead: list[str] = []
    for part in stretches(places):
        dead += [task.id for key in part for task in _useless(view, key)]
        yield
    return dead


def _useless(view: View, key: _Key) -> list[Task]:
    tasks = sorted(view.tasks.find("place", key), key=age)
    gone = [task for task in tasks if _may_go(task, view)]
    kept = [task for task in tasks if task.desired_state < TaskState.REMOVE]
    return gone + _beyond_history(kept, view)


def _may_go(task: Task, view: View) -> bool:
    """It shall be removed and has ended, or nobody is there who could tell that it has."""
    if task.desired_state < TaskState.REMOVE:
        return False
    return task.status.state.is_final or is_lost(task, view.nodes.get(task.node_id))


def _beyond_history(tasks: Sequence[Task], view: View) -> list[Task]:
    """The oldest ended ones above the limit, which counts those that run as well; negative: it keeps all."""
    if not tasks:
        return []
    limit = _limit(tasks, view)
    surplus = len(tasks) - limit
    if limit < 0 or surplus <= 0:
        return []
    needed = {task.id for task in (*_counted(tasks), *_told_by(tasks, view))}
    return [task for task in tasks if task.id not in needed and _has_ended(task, view)][:surplus]


def _limit(tasks: Sequence[Task], view: View) -> int:
    attempts = policy_of(_newest(tasks)[-1]).max_attempts
    if attempts:
        return attempts + 1
    cluster = next(iter(view.clusters), None)
    limit = cluster.spec.orchestration.task_history_retention_limit if cluster is not None else None
    return DEFAULT_HISTORY if limit is None else limit


def _newest(tasks: Sequence[Task]) -> list[Task]:
    """Those of the newest spec that the place has seen. A start-first update leaves older ones live for a while."""
    versions = [task.spec_version.index if task.spec_version is not None else 0 for task in tasks]
    return [task for task, version in zip(tasks, versions, strict=True) if version == max(versions)]


def _counted(tasks: Sequence[Task]) -> list[Task]:
    """What restart_policy.py counts as attempts, and by which it knows that a spec was given up in the place."""
    *older, last = _newest(tasks)
    attempts = policy_of(last).max_attempts
    failures = [task for task in older if ended_by_itself(task)]
    return [*failures[-attempts:], last] if attempts else [last]


def _told_by(tasks: Sequence[Task], view: View) -> list[Task]:
    """What the plans tell something by."""
    last = tasks[-1]  # that the place is filled
    needed = [last]
    if last.desired_state < TaskState.RUNNING:  # its delay: restart_policy.py takes it from the predecessor
        needed += [task for task in tasks if task.desired_state > TaskState.RUNNING][-1:]
    service = view.services.get(last.service_id)
    status = service.update_status if service is not None else None
    if service is not None and status is not None and status.state in UNDER_WAY:
        # Old places from new ones, and whether the update failed here: see update_plan.py.
        needed += [task for task in tasks if task.spec_version != service.spec_version][-1:]
        if (first := first_task(service, status, tasks)) is not None:
            needed.append(first)
    return needed


def _has_ended(task: Task, view: View) -> bool:
    if task.desired_state <= TaskState.RUNNING:
        return False
    return task.status.state.is_final or is_lost(task, view.nodes.get(task.node_id))


def _delete(tx: Tx, task_id: str) -> None:
    if task_id in tx.tasks:
        tx.tasks.delete(task_id)
