"""A model of a swarm around the pure plan of a service: it carries plans out and plays the agents, event by event."""

from __future__ import annotations

from itertools import count

from hypothesis import strategies as st
from msgspec.structs import replace

from manager.orchestrator.new_task import new_task
from manager.orchestrator.places import Choose
from manager.orchestrator.replicated_slots import choose_slots
from manager.orchestrator.steps import Around, Plan
from swarmcore.model.base import Version
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import FailureAction, UpdateConfig, UpdateOrder
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.manager.orchestrator.objects import SECOND, S, at, node, plan, service, template

NODES = ("n1", "n2", "n3")


class Model:
    """Applies plans and plays the agents, one event at a time."""

    def __init__(self, made: Service, choose: Choose = choose_slots) -> None:
        self.service = made
        self.choose = choose
        self.tasks: dict[str, Task] = {}
        self.nodes = {id: node(id) for id in NODES}
        self.now = 0.0
        self.ids = (f"t{n:05}" for n in count(1))

    def plan(self) -> Plan:
        return plan(
            self.service, self.tasks.values(), Around(now=at(self.now), nodes=self.nodes), self.choose
        )

    def reconcile(self) -> bool:
        """Carry out one plan; False if there was nothing to do."""
        made = self.plan()
        for step in made.steps:
            if step.create_in is not None:
                self.now += 0.001
                new = new_task(
                    self.service, step.create_in, next(self.ids), step.create_as, at(self.now), None
                )
                self.tasks[new.id] = replace(new, updated_at=at(self.now))
            for ids, desired in ((step.start, S.RUNNING), (step.stop, S.SHUTDOWN), (step.remove, S.REMOVE)):
                for id in ids:
                    assert self.tasks[id].desired_state < desired, "a step that changes nothing"
                    self.tasks[id] = replace(self.tasks[id], desired_state=desired)
        if made.update_status is not None:
            assert made.update_status != self.service.update_status
            self.service = replace(self.service, update_status=made.update_status)
        if made.roll_back_to is not None:
            version = Version(index=self.service.spec_version.index + 1)
            self.service = replace(
                self.service, spec=made.roll_back_to, previous_spec=None, spec_version=version
            )
        return bool(made.steps) or made.update_status is not None

    def report(self, task: Task, state: TaskState, node_id: str | None = None) -> None:
        self.now += 0.001
        status = TaskStatus(state=state, timestamp=at(self.now))
        where = task.node_id if node_id is None else node_id
        self.tasks[task.id] = replace(task, status=status, node_id=where, updated_at=at(self.now))

    def agents(self) -> bool:
        """One round of allocator, scheduler, agents and reaper; False if nothing happened."""
        moved = False
        ready = [n for n in self.nodes.values() if n.status.state is NodeState.READY]
        open_nodes = [n.id for n in ready if n.spec.availability is Availability.ACTIVE]
        for t in list(self.tasks.values()):
            lost = not t.node_id or self.nodes[t.node_id].status.state is NodeState.DOWN
            if t.desired_state is S.REMOVE and (lost or t.status.state.is_final):
                del self.tasks[t.id]
            elif t.status.state.is_final or (t.node_id and t.node_id not in {n.id for n in ready}):
                continue
            elif not t.node_id and t.desired_state <= S.RUNNING and open_nodes:
                self.report(t, S.ASSIGNED, open_nodes[int(t.id[1:]) % len(open_nodes)])
            elif t.node_id and t.desired_state >= S.SHUTDOWN:
                self.report(t, S.SHUTDOWN)
            elif t.node_id and t.status.state < t.desired_state:
                self.report(t, S.READY if t.status.state < S.READY else S.RUNNING)
            else:
                continue
            moved = True
        return moved

    def settle(self) -> None:
        for _ in range(500):
            while self.reconcile():
                assert len(self.tasks) < 1000, "tasks without end"
            if self.agents():
                continue
            due = self.plan().due
            if due is None:
                return
            self.now = max(self.now, (due - at(0)).total_seconds())
        raise AssertionError("it never comes to rest")


CONFIGS = st.builds(
    UpdateConfig,
    parallelism=st.integers(0, 3),
    delay=st.sampled_from((0, SECOND)),
    order=st.sampled_from(UpdateOrder),
    failure_action=st.just(FailureAction.CONTINUE),
)
EVENTS = st.one_of(
    st.tuples(st.just("end"), st.integers(0, 40), st.sampled_from((S.FAILED, S.COMPLETE, S.REJECTED))),
    st.tuples(st.just("node"), st.sampled_from(NODES), st.sampled_from((NodeState.DOWN, NodeState.READY))),
    st.tuples(
        st.just("open"), st.sampled_from(NODES), st.sampled_from((Availability.DRAIN, Availability.ACTIVE))
    ),
    st.tuples(st.just("scale"), st.integers(0, 8), st.none()),
    st.tuples(st.just("update"), st.integers(1, 3), st.none()),
    st.tuples(st.just("agents"), st.none(), st.none()),
    st.tuples(st.just("plan"), st.none(), st.none()),
    st.tuples(st.just("time"), st.floats(0.1, 30), st.none()),
)


def happen(model: Model, event: tuple[str, object, object]) -> None:
    match event:
        case "end", int() as nth, TaskState() as state:
            alive = [t for t in model.tasks.values() if t.node_id and not t.status.state.is_final]
            if alive:
                model.report(alive[nth % len(alive)], state)
        case "node", str() as id, NodeState() as node_state:
            model.nodes[id] = replace(
                model.nodes[id], status=replace(model.nodes[id].status, state=node_state)
            )
        case "open", str() as id, Availability() as availability:
            spec = replace(model.nodes[id].spec, availability=availability)
            model.nodes[id] = replace(model.nodes[id], spec=spec)
        case "scale", int() as replicas, _:
            spec_now = replace(model.service.spec, mode=service(replicas).spec.mode)
            model.service = replace(model.service, spec=spec_now)
        case "update", int() as image, _:
            wanted = template(f"web:{image}", model.service.spec.task_template.restart_policy)
            if wanted != model.service.spec.task_template:
                model.service = replace(
                    model.service,
                    spec=replace(model.service.spec, task_template=wanted),
                    previous_spec=model.service.spec,
                    spec_version=Version(index=model.service.spec_version.index + 1),
                    update_status=None,
                )
        case "agents", _, _:
            model.agents()
        case "plan", _, _:
            model.reconcile()
        case "time", float() as seconds, _:
            model.now += seconds
