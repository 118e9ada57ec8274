"""A service's plan: pure, and whatever happens to tasks and nodes it leads to the wanted state and then rests."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.orchestrator.new_task import new_task
from manager.orchestrator.service_plan import plan, plan_removed
from manager.orchestrator.steps import Around, Plan, Step
from manager.rules.current import is_current
from swarmcore.model.base import Version
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import FailureAction, RestartPolicy, UpdateConfig, UpdateOrder
from swarmcore.model.service import Service, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState, TaskStatus
from tests.manager.orchestrator.objects import SECOND, S, at, node, service, task, template

NODES = ("n1", "n2", "n3")


def test_nothing_to_do_gives_an_empty_plan() -> None:
    around = Around(now=at(100), nodes={"n1": node()})
    assert plan(service(2), [task("a", 1), task("b", 2)], around) == Plan()


def test_a_failed_task_is_stopped_and_replaced_in_one_step() -> None:
    around = Around(now=at(100), nodes={"n1": node()})
    (step,) = plan(service(1), [task(state=S.FAILED)], around).steps
    assert (step.stop, step.create_in, step.create_as) == (("t1",), 1, S.READY)


def test_the_moment_of_a_delayed_start_is_told() -> None:
    around = Around(now=at(12), nodes={"n1": node()})
    old = task(state=S.FAILED, desired=S.SHUTDOWN)
    new = task("t2", state=S.READY, desired=S.READY, created=10)
    assert plan(service(1), [old, new], around) == Plan(due=at(15))


def test_what_fails_before_it_was_to_start_is_replaced_only_then() -> None:
    """An image that no node has would be tried many times a second."""
    nodes = {"n1": node()}
    old = task(state=S.REJECTED, desired=S.SHUTDOWN)
    new = task("t2", state=S.REJECTED, desired=S.READY, created=10)
    assert plan(service(1), [old, new], Around(now=at(12), nodes=nodes)) == Plan(due=at(15))
    (step,) = plan(service(1), [old, new], Around(now=at(15), nodes=nodes)).steps
    assert (step.stop, step.create_in, step.create_as) == (("t2",), 1, S.READY)


def test_what_fails_before_it_was_to_start_moves_at_once_from_a_node_that_is_drained() -> None:
    around = Around(now=at(12), nodes={"n1": node(availability=Availability.DRAIN)})
    old = task(state=S.REJECTED, desired=S.SHUTDOWN)
    new = task("t2", state=S.REJECTED, desired=S.READY, created=10)
    (step,) = plan(service(1), [old, new], around).steps
    assert (step.stop, step.create_in) == (("t2",), 1)


def test_an_update_does_not_wait_for_what_failed_before_it_was_to_start() -> None:
    around = Around(now=at(12), nodes={"n1": node()})
    old = task(state=S.REJECTED, desired=S.SHUTDOWN)
    new = task("t2", state=S.REJECTED, desired=S.READY, created=10)
    made = plan(service(1, template("web:2"), version=2), [old, new], around)
    assert [step.create_in for step in made.steps] == [1]


def test_the_tasks_of_a_removed_service_go_each_once() -> None:
    tasks = [task("a"), task("b", desired=S.SHUTDOWN), task("c", desired=S.REMOVE)]
    assert [step.remove for step in plan_removed(tasks).steps] == [("a",), ("b",)]


def test_a_start_first_slot_that_is_rolled_back_keeps_the_task_that_still_runs_what_is_wanted() -> None:
    around = Around(now=at(100), nodes={"n1": node()})
    config = UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST)
    old, new = task("old", version=1), task("new", version=2, spec=template("web:2"), created=50)
    (step,) = plan(service(1, version=3, update=config), [old, new], around).steps
    assert step == Step(stop=("new",))


def test_a_slot_whose_outdated_task_moves_anyway_keeps_the_update_going() -> None:
    status = UpdateStatus(state=UpdateState.UPDATING, started_at=at(0))
    made = service(1, template("web:2"), version=2, status=status)
    around = Around(now=at(100), nodes={"n1": node("n1", NodeState.DOWN)})
    made_plan = plan(made, [task()], around)
    assert made_plan.update_status is None
    assert [step.create_in for step in made_plan.steps] == [1]


class Model:
    """Applies plans and plays the agents, one event at a time."""

    def __init__(self, made: Service) -> None:
        self.service = made
        self.tasks: dict[str, Task] = {}
        self.nodes = {id: node(id) for id in NODES}
        self.now = 0.0
        self.ids = (f"t{n:05}" for n in count(1))

    def plan(self) -> Plan:
        return plan(self.service, self.tasks.values(), Around(now=at(self.now), nodes=self.nodes))

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


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, max_size=30),
    st.builds(
        UpdateConfig,
        parallelism=st.integers(0, 3),
        delay=st.sampled_from((0, SECOND)),
        order=st.sampled_from(UpdateOrder),
        failure_action=st.just(FailureAction.CONTINUE),
    ),
)
def test_whatever_happens_the_wanted_tasks_run_in_the_end_and_the_plan_rests(
    events: list[tuple[str, object, object]], config: UpdateConfig
) -> None:
    model = Model(service(3, template(policy=RestartPolicy(delay=SECOND)), update=config))
    for event in events:
        happen(model, event)
    model.nodes = {id: node(id) for id in NODES}  # the trouble is over
    model.settle()
    live = [t for t in model.tasks.values() if t.desired_state <= S.RUNNING]
    assert len({t.slot for t in live}) == len(live) == model.service.spec.replicas
    assert all(t.status.state is t.desired_state is S.RUNNING for t in live)
    assert all(is_current(t, model.service, node(t.node_id)) for t in live)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(EVENTS, max_size=30),
    st.sampled_from(UpdateOrder),
    st.sampled_from((FailureAction.PAUSE, FailureAction.ROLLBACK)),
)
def test_updates_that_stop_or_roll_back_on_failure_come_to_rest_as_well(
    events: list[tuple[str, object, object]], order: UpdateOrder, action: FailureAction
) -> None:
    config = UpdateConfig(parallelism=1, order=order, failure_action=action)
    model = Model(service(3, template(policy=RestartPolicy(delay=SECOND)), update=config))
    for event in events:
        happen(model, event)
    model.nodes = {id: node(id) for id in NODES}
    model.settle()
    slots = {t.slot for t in model.tasks.values() if t.desired_state is t.status.state is S.RUNNING}
    assert len(slots) == model.service.spec.replicas
