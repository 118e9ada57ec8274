"""Places that are nodes go the way of slots: one planner, one updater, one restart policy for every mode.

No mode chooses nodes yet; the one here stands for them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.orchestrator.new_task import new_task
from manager.orchestrator.places import Choice, Choose, Places
from manager.orchestrator.steps import Around, Step
from manager.rules.current import is_current
from swarmcore.aio import Turns
from swarmcore.model.base import Version
from swarmcore.model.node import Availability, Node, NodeState
from swarmcore.model.place import place_of
from swarmcore.model.policy import FailureAction, RestartPolicy, UpdateConfig
from swarmcore.model.service import Service, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState
from tests.manager.orchestrator.model import CONFIGS, EVENTS, NODES, Model, happen
from tests.manager.orchestrator.objects import SECOND, S, at, by_place, node, plan, service, task, template

TWICE = RestartPolicy(max_attempts=1)


def each_of(nodes: dict[str, Node]) -> Choose:
    """One task on every node that may have tasks."""

    def choose(service: Service, places: Places, around: Around) -> Turns[Choice]:
        yield
        is_open = {
            id: n.status.state is NodeState.READY and n.spec.availability is Availability.ACTIVE
            for id, n in nodes.items()
        }
        return Choice(
            to_fill=[id for id in sorted(nodes) if is_open[id] and id not in places],
            to_give_up=[place for place in places if not is_open.get(str(place), False)],
        )

    return choose


def on(
    node_id: str, id: str, state: TaskState = S.RUNNING, desired: TaskState = S.RUNNING, **fields: object
) -> Task:
    """A task whose place is its node."""
    return replace(task(id, 0, state, desired, node_id=node_id), **fields)


def test_a_new_task_of_a_node_is_made_for_it_and_has_no_slot() -> None:
    made = new_task(service(), "n2", "t1", S.READY, at(1), None)
    assert (made.slot, made.node_id, place_of(made)) == (0, "n2", "n2")


def test_tasks_that_succeed_each_other_on_a_node_share_its_place() -> None:
    tasks = [on("n2", "c"), on("n1", "b", created_at=at(5)), on("n1", "a", S.FAILED, S.SHUTDOWN)]
    assert {place: [t.id for t in found] for place, found in by_place(tasks).items()} == {
        "n1": ["a", "b"],
        "n2": ["c"],
    }


def test_a_node_that_comes_is_filled_and_one_that_is_drained_is_given_up() -> None:
    nodes = {"n1": node("n1"), "n2": node("n2", availability=Availability.DRAIN), "n3": node("n3")}
    made = plan(service(), [on("n1", "a"), on("n2", "b")], Around(now=at(9), nodes=nodes), each_of(nodes))
    assert made.steps == (Step(remove=("b",)), Step(create_in="n3"))


def test_a_failed_task_has_its_successor_on_its_node_until_the_policy_ends_that() -> None:
    nodes = {"n1": node("n1")}
    around = Around(now=at(9), nodes=nodes)
    spec = template(policy=TWICE)
    first = on("n1", "a", S.FAILED, spec=spec)
    (step,) = plan(service(1, spec), [first], around, each_of(nodes)).steps
    assert (step.stop, step.create_in, step.create_as) == (("a",), "n1", S.READY)
    ended = replace(first, desired_state=S.SHUTDOWN)
    second = on("n1", "b", S.FAILED, spec=spec, created_at=at(5))
    (step,) = plan(service(1, spec), [ended, second], around, each_of(nodes)).steps
    assert (step.stop, step.create_in) == (("b",), None)


@pytest.mark.parametrize("parallelism", [1, 2, 0])
def test_an_update_renews_as_many_nodes_at_a_time_as_it_may(parallelism: int) -> None:
    nodes = {id: node(id) for id in NODES}
    config = UpdateConfig(parallelism=parallelism)
    made = service(1, template("web:2"), version=2, update=config)
    tasks = [on(id, f"old-{id}") for id in reversed(NODES)]
    steps = plan(made, tasks, Around(now=at(9), nodes=nodes), each_of(nodes)).steps
    assert [(step.stop, step.create_in) for step in steps] == [
        ((f"old-{id}",), id) for id in NODES[: parallelism or None]
    ]


def test_too_many_nodes_that_fail_roll_an_update_back() -> None:
    nodes = {"n1": node("n1")}
    status = UpdateStatus(state=UpdateState.UPDATING, started_at=at(1))
    config = UpdateConfig(parallelism=1, failure_action=FailureAction.ROLLBACK)
    made = service(1, template("bad"), version=2, update=config, status=status)
    made = replace(made, previous_spec=service().spec)
    failed = on("n1", "b", S.FAILED, spec=template("bad"), spec_version=Version(index=2), created_at=at(2))
    tasks = [on("n1", "a", S.SHUTDOWN, S.SHUTDOWN), failed]
    back = plan(made, tasks, Around(now=at(3), nodes=nodes), each_of(nodes))
    assert back.update_status is not None
    assert back.update_status.state is UpdateState.ROLLBACK_STARTED
    assert back.roll_back_to == service().spec


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, max_size=30),
    CONFIGS,
)
def test_whatever_happens_every_node_runs_the_wanted_task_in_the_end_and_the_plan_rests(
    events: list[tuple[str, object, object]], config: UpdateConfig
) -> None:
    model = Model(service(3, template(policy=RestartPolicy(delay=SECOND)), update=config))
    model.choose = each_of(model.nodes)
    for event in events:
        happen(model, event)
    for id in NODES:  # the trouble is over
        model.nodes[id] = node(id)
    model.settle()
    live = [t for t in model.tasks.values() if t.desired_state <= S.RUNNING]
    assert sorted(t.node_id for t in live) == sorted(NODES)
    assert all(t.status.state is t.desired_state is S.RUNNING for t in live)
    assert all(is_current(t, model.service, node(t.node_id)) for t in live)
