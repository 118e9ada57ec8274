from __future__ import annotations

from manager.scheduler.plan import ASSIGNED, CONFIRMED, plan
from swarmcore.model.node import Node, NodeState
from swarmcore.model.resources import Resources
from swarmcore.model.task import TaskState
from tests.manager.scheduler.objects import NOW, count, named, node, node_set, spread, task

DOWN = node("n1", state=NodeState.DOWN)


def test_without_any_node_there_is_nothing_to_explain() -> None:
    (decision,) = plan(node_set([]), [task()], NOW)
    assert decision.placed is None
    assert decision.reason == "no suitable node"


def test_the_reason_is_news_only_once() -> None:
    (first,) = plan(node_set([DOWN]), [task()], NOW)
    assert first.reason == "no suitable node (1 node not available for new tasks)"
    assert first.is_news
    (again,) = plan(node_set([DOWN]), [task(err=first.reason)], NOW)
    assert not again.is_news


def test_a_placed_task_loses_its_old_error() -> None:
    (decision,) = plan(node_set([node("n1")]), [task(err="no suitable node")], NOW)
    assert decision.placed is not None
    assert decision.placed.node_id == "n1"
    assert decision.placed.status.state is TaskState.ASSIGNED
    assert decision.placed.status.message == ASSIGNED
    assert decision.placed.status.err == ""


def test_a_given_node_is_confirmed_though_others_are_emptier() -> None:
    (decision,) = plan(node_set([node("n1"), node("n2")]), [task(node_id="n2")], NOW)
    assert decision.placed is not None
    assert decision.placed.node_id == "n2"
    assert decision.placed.status.message == CONFIRMED


def test_a_given_node_that_does_not_fit_is_waited_for() -> None:
    nodes = node_set([DOWN, node("n2")])
    (decision,) = plan(nodes, [task(node_id="n1")], NOW)
    assert decision.placed is None
    assert decision.reason == "1 node not available for new tasks"
    (gone,) = plan(nodes, [task(node_id="n3")], NOW)
    assert gone.reason == "no suitable node"


def test_what_fits_is_placed_and_the_rest_told_why_not() -> None:
    nodes = node_set([node("n1", resources=Resources(memory_bytes=25)), Node(id="n0")])
    wanted = [task(f"t{i}", reserve=Resources(memory_bytes=10)) for i in range(3)]
    placed = plan(nodes, wanted, NOW)
    assert [d.placed is not None for d in placed] == [True, True, False]
    assert placed[2].reason == (
        "no suitable node (1 node not available for new tasks; insufficient resources on 1 node)"
    )


def test_each_task_gets_its_own_named_resources() -> None:
    gpus = Resources(generic_resources=(named("gpu", "a"), named("gpu", "b")))
    wanted = [task(f"t{i}", reserve=Resources(generic_resources=(count("gpu", 1),))) for i in range(3)]
    decisions = plan(node_set([node("n1", resources=gpus)]), wanted, NOW)
    assert [d.placed.generic_resources if d.placed else () for d in decisions] == [
        (named("gpu", "a"),),
        (named("gpu", "b"),),
        (),
    ]


def test_services_that_cannot_run_do_not_stand_in_the_way_of_others() -> None:
    stuck = [
        task(f"s{i}", service="stuck", placement=spread("zone", constraints=("node.id==x",)))
        for i in range(3)
    ]
    decisions = plan(node_set([node("n1")]), [*stuck, task("t1")], NOW)
    assert [d.task.id for d in decisions if d.placed is not None] == ["t1"]


def test_tasks_of_unknown_version_are_judged_one_by_one() -> None:
    small = task("t1", version=None, reserve=Resources(memory_bytes=1))
    large = task("t2", version=None, reserve=Resources(memory_bytes=10_000))
    decisions = plan(node_set([node("n1")]), [small, large], NOW)
    assert [d.placed is not None for d in decisions] == [True, False]


def test_tasks_with_one_port_of_the_host_go_to_nodes_of_their_own() -> None:
    busy = task("old", service="other", node_id="n1", state=TaskState.RUNNING, host_port=80)
    nodes = node_set([node("n1"), node("n2"), node("n3")], [busy])
    decisions = plan(nodes, [task(f"t{i}", host_port=80) for i in range(3)], NOW)
    assert [d.placed.node_id if d.placed else "" for d in decisions] == ["n2", "n3", ""]
    assert decisions[2].reason == "no suitable node (host-mode port already in use on 3 nodes)"


def test_a_port_of_the_host_is_held_until_its_task_has_ended() -> None:
    ending = task("old", node_id="n1", state=TaskState.RUNNING, desired=TaskState.SHUTDOWN, host_port=80)
    nodes = node_set([node("n1")], [ending])
    (waiting,) = plan(nodes, [task(host_port=80)], NOW)
    assert waiting.placed is None
    nodes.remove_task("old")
    (placed,) = plan(nodes, [task(host_port=80)], NOW)
    assert placed.placed is not None
