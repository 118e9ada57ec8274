"""A service's plan: pure, and whatever happens to tasks and nodes it leads to the wanted state and then rests."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from manager.orchestrator.steps import Around, Plan, Step
from manager.rules.current import is_current
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import FailureAction, RestartPolicy, UpdateConfig, UpdateOrder
from swarmcore.model.service import UpdateState, UpdateStatus
from tests.manager.orchestrator.model import CONFIGS, EVENTS, NODES, Model, happen
from tests.manager.orchestrator.objects import (
    SECOND,
    S,
    at,
    node,
    plan,
    plan_removed,
    service,
    task,
    template,
)


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


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, max_size=30),
    CONFIGS,
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
