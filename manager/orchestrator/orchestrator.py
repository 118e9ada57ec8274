"""The loop that keeps a task running in each place of each service: it plans anew whatever may have changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from manager.orchestrator.fitness import evicted
from manager.orchestrator.modes import CHOOSE
from manager.orchestrator.new_task import new_task
from manager.orchestrator.service_plan import plan_in_turns, plan_removed_in_turns
from manager.orchestrator.steps import Around, Plan, Step
from manager.store.follow import follow
from manager.store.store import Store
from manager.store.tables import View
from manager.store.tx import Tx
from manager.store.watch import Change, Commit
from swarmcore.aio import in_turns, stretches
from swarmcore.clock import Clock
from swarmcore.model.base import Version
from swarmcore.model.cluster import DEFAULT_MAX_REPLICAS, Cluster, max_replicas
from swarmcore.model.node import Node
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState

log = logging.getLogger(__name__)
#: A service of so many tasks is planned by itself, after the smaller ones, and then rests: a plan looks at all of its
#: tasks, each of which may have been changed by a commit of its own.
LARGE = 1_000
REST = 20e-6  # seconds of rest a task, about twice of what its part of a plan takes


class _Work(Struct, frozen=True, gc=False):
    """One transaction's worth: a step of a service, or (step None) what the plan says about the service itself."""

    service_id: str
    step: Step | None
    plan: Plan
    made_for: int = 0  # the version of the service that the plan was made for


class Orchestrator:
    """Also restarts, rolling updates, drained and dead nodes: they all are reasons to plan a place."""

    def __init__(self, store: Store, clock: Clock, new_id: Callable[[], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._dirty: dict[str, None] = {}  # service ids worth a plan
        self._due: dict[str, datetime] = {}  # when to plan a service though nothing happens
        self._rest: dict[str, float] = {}  # by large service: until when it rests after a plan (monotonic)
        self._capped: set[str] = set()  # services that ask for more than the limit, told once each
        # Both only save what the state does not hold; without them a plan is a little less exact.
        self._evicted: dict[str, frozenset[str]] = {}  # by node: the tasks it has no room for any more
        self._began: dict[str, datetime] = {}  # by task that has ended: since when it had been running

    async def run(self) -> None:
        await follow(self._store, self._clock, self, frozenset({Service, Task, Node, Cluster}))

    # -- Follower ----------------------------------------------------------------------------------
    def begin(self, view: View) -> None:
        self._due.clear()
        self._rest.clear()
        self._began.clear()
        self._evicted = {node.id: evicted(node, view.tasks.find("node_id", node.id)) for node in view.nodes}
        self._dirty = {service.id: None for service in view.services}
        self._dirty |= {task.service_id: None for task in view.tasks if task.service_id}

    def note(self, commit: Commit) -> None:
        for change in commit.changes:
            match change.object:
                case Service() as service:
                    self._dirty[service.id] = None
                case Task() as task if task.service_id:
                    self._dirty[task.service_id] = None
                    self._note_end(change)
                case Cluster():
                    self._dirty |= dict.fromkeys(self._capped)  # the limit may be another one
                case Node() as node if _matters(change):
                    tasks = self._store.view().tasks.find("node_id", node.id)
                    self._evicted[node.id] = evicted(node, tasks) if change.new else frozenset()
                    self._dirty |= {task.service_id: None for task in tasks}

    def _note_end(self, change: Change) -> None:
        old, new = change.old, change.new
        if new is None:
            self._began.pop(change.object.id, None)
        elif isinstance(old, Task) and isinstance(new, Task) and not old.status.state.is_final:
            status = old.status if old.status.state is TaskState.RUNNING else new.status
            if new.status.state.is_final and status.timestamp is not None:
                self._began[new.id] = status.timestamp

    async def act(self) -> float | None:
        now = self._clock.now()
        for service_id in [id for id, due in self._due.items() if due <= now]:
            del self._due[service_id]
            self._dirty[service_id] = None
        view = self._store.view()
        count = {id: view.tasks.count("service_id", id) for id in self._dirty}
        await self._reconcile([id for id in self._dirty if count[id] < LARGE], now)
        for service_id in sorted((id for id in self._dirty if self._may_plan(id)), key=count.__getitem__):
            if not await self._reconcile([service_id], now):
                self._rest[service_id] = self._clock.monotonic() + count[service_id] * REST
        return self._next_look(now)

    def _may_plan(self, service_id: str) -> bool:
        if self._rest.get(service_id, 0.0) > self._clock.monotonic():
            return False
        self._rest.pop(service_id, None)
        return True

    def _next_look(self, now: datetime) -> float | None:
        soon = [self._rest.get(service_id, 0.0) for service_id in self._dirty]
        if self._due:
            soon.append(self._clock.monotonic() + (min(self._due.values()) - now).total_seconds())
        return min(soon, default=None)

    async def _reconcile(self, service_ids: list[str], now: datetime) -> bool:
        """Plan these and carry it out; a service whose plan had no room for all stays dirty. Whether there is one."""
        work: list[_Work] = []
        more: set[str] = set()
        for service_id in service_ids:
            made = await self._plan(service_id, now)
            work += made
            more |= {service_id for item in made[:1] if item.plan.has_more}
        if work:
            await self._store.batch(work, self._carry_out)
        for service_id in service_ids:
            if service_id not in more:
                del self._dirty[service_id]
        return bool(more)

    # -- planning and writing ----------------------------------------------------------------------
    async def _plan(self, service_id: str, now: datetime) -> list[_Work]:
        view = self._store.view()
        tasks = view.tasks.find("service_id", service_id)
        service = view.services.get(service_id)
        self._due.pop(service_id, None)
        if service is None:
            self._capped.discard(service_id)
            made = await in_turns(plan_removed_in_turns(tasks))
        elif (choose := CHOOSE.get(service.spec.mode.name)) is None:
            return []
        else:
            around = self._around(view, service, tasks, now)
            made = await in_turns(plan_in_turns(service, tasks, around, choose))
        if made.due is not None:
            self._due[service_id] = made.due
        work: list[_Work] = []
        for steps in stretches(made.steps):
            work += [_Work(service_id, step, made) for step in steps]
            await asyncio.sleep(0)
        if made.update_status is not None:
            assert service is not None, "only a service has an update"
            work.append(_Work(service_id, None, made, service.version.index))
        return work

    def _around(self, view: View, service: Service, tasks: Sequence[Task], now: datetime) -> Around:
        node_ids = {task.node_id for task in tasks if task.node_id}
        nodes = {node_id: node for node_id in node_ids if (node := view.nodes.get(node_id))}
        gone = frozenset[str]().union(*(self._evicted.get(node_id, ()) for node_id in nodes))
        limit = next((max_replicas(cluster.spec) for cluster in view.clusters), DEFAULT_MAX_REPLICAS)
        if service.spec.replicas <= limit:
            self._capped.discard(service.id)
        elif service.id not in self._capped:
            self._capped.add(service.id)
            facts = {"service": service.spec.name, "replicas": service.spec.replicas, "limit": limit}
            log.warning("a service asks for more replicas than it may have", extra=facts)
        return Around(now=now, nodes=nodes, evicted=gone, began=self._began, max_replicas=limit)

    def _carry_out(self, tx: Tx, work: _Work) -> None:
        """What the plan rests on may have changed since: then this part is left to the next plan."""
        service = tx.services.get(work.service_id)
        if work.step is None:
            # What a plan says about a service's update holds for that very spec only: the user's newer one wins.
            if service is not None and service.version.index == work.made_for:
                _write_update(tx, service, work.plan)
            return
        step = work.step
        if step.create_in is not None:
            if service is None:
                return
            cluster = next(iter(tx.clusters), None)
            created = _time_of_successor(tx, service, step)
            tx.tasks.put(new_task(service, step.create_in, self._new_id(), step.create_as, created, cluster))
        _desire(tx, step.start, TaskState.RUNNING)
        _desire(tx, step.stop, TaskState.SHUTDOWN)
        _desire(tx, step.remove, TaskState.REMOVE)


def _time_of_successor(tx: Tx, service: Service, step: Step) -> datetime:
    """Later than that of the tasks it runs beside (start-first), though an earlier leader's clock may be ahead."""
    of_place = tx.tasks.find("place", (service.id, step.create_in))
    beside = [t for t in of_place if t.desired_state <= TaskState.RUNNING and t.id not in step.stop]
    return max([tx.now(), *(t.created_at + timedelta(microseconds=1) for t in beside if t.created_at)])


def _desire(tx: Tx, task_ids: tuple[str, ...], desired: TaskState) -> None:
    for task_id in task_ids:
        task = tx.tasks.get(task_id)
        if task is not None and task.desired_state < desired:
            tx.tasks.put(replace(task, desired_state=desired))


def _write_update(tx: Tx, service: Service, made: Plan) -> None:
    if made.roll_back_to is None:
        tx.services.put(replace(service, update_status=made.update_status))
        return
    log.warning("a failed update is rolled back", extra={"service": service.spec.name})
    tx.services.put(
        replace(
            service,
            spec=made.roll_back_to,
            spec_version=Version(index=service.spec_version.index + 1),
            previous_spec=None,
            previous_spec_version=None,
            update_status=made.update_status,
        )
    )


def _matters(change: Change) -> bool:
    """Whether a node's tasks may have to leave: heartbeats of its description do not count."""
    old, new = change.old, change.new
    if not isinstance(old, Node) or not isinstance(new, Node):
        return True
    return _facts(old) != _facts(new)


def _facts(node: Node) -> tuple[object, ...]:
    return node.status.state, node.status.addr, node.spec, node.role, node.description
