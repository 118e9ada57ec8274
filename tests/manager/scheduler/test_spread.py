from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from manager.scheduler.nodeset import FAILURE_WINDOW, MAX_FAILURES, NodeSet
from manager.scheduler.plan import plan
from swarmcore.model.base import Version
from swarmcore.model.node import Node, NodeState
from swarmcore.model.policy import Placement
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task, TaskState
from tests.manager.scheduler.objects import NOW, node, node_set, running, spread, task


def place(nodes: NodeSet, tasks: list[Task]) -> list[str]:
    """The nodes that the tasks get, "" for none."""
    return [d.placed.node_id if d.placed is not None else "" for d in plan(nodes, tasks, NOW)]


def tasks(number: int, placement: Placement | None = None, **options: object) -> list[Task]:
    chosen = placement or Placement()
    return [task(f"t{i:03}", placement=chosen, **options) for i in range(number)]  # type: ignore[arg-type]


@given(
    st.integers(1, 12),
    st.integers(0, 40),
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from(["web", "other"])), max_size=20),
)
def test_replicas_differ_by_at_most_one_unless_they_did_before(
    size: int, number: int, there: list[tuple[int, str]]
) -> None:
    before = [running(f"b{i}", f"n{n % size}", service) for i, (n, service) in enumerate(there)]
    nodes = node_set([node(f"n{i}") for i in range(size)], before)
    loads = Counter({f"n{i}": 0 for i in range(size)})
    loads.update(t.node_id for t in before if t.service_id == "web")
    highest = max(loads.values())
    loads.update(place(nodes, tasks(number)))
    assert sum(loads.values()) == number + sum(service == "web" for _, service in there)
    if number:
        assert max(loads.values()) <= max(highest, min(loads.values()) + 1)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 40))
def test_zones_differ_by_at_most_one_however_many_nodes_they_have(zones: list[int], number: int) -> None:
    nodes = [node(f"n{i}", labels={"zone": str(zone)}) for i, zone in enumerate(zones)]
    chosen = place(node_set(nodes), tasks(number, spread("zone")))
    zone_of = {n.id: n.spec.labels["zone"] for n in nodes}
    by_zone = Counter({str(zone): 0 for zone in zones})
    by_zone.update(zone_of[node_id] for node_id in chosen)
    assert max(by_zone.values()) - min(by_zone.values()) <= 1
    for zone in set(zone_of.values()):
        inside = Counter({n: 0 for n in zone_of if zone_of[n] == zone})
        inside.update(n for n in chosen if zone_of[n] == zone)
        assert max(inside.values()) - min(inside.values()) <= 1


@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 30),
)
def test_every_place_is_used_before_a_task_waits(shapes: list[tuple[int, bool]], number: int) -> None:
    nodes = [
        node(f"n{i}", resources=Resources(memory_bytes=room * 10), labels={"zone": str(zone)})
        for i, (room, zone) in enumerate(shapes)
    ]
    chosen = place(node_set(nodes), tasks(number, spread("zone"), reserve=Resources(memory_bytes=10)))
    rooms = sum(room for room, _ in shapes)
    assert sum(bool(node_id) for node_id in chosen) == min(number, rooms)
    loads = Counter(node_id for node_id in chosen if node_id)
    assert all(loads[n.id] * 10 <= n.description.resources.memory_bytes for n in nodes if n.description)


def test_levels_of_preferences_split_one_inside_the_other() -> None:
    nodes = [
        node(f"n{dc}{rack}{i}", labels={"dc": dc, "rack": rack})
        for dc, rack, size in (("a", "1", 1), ("a", "2", 3), ("b", "1", 1))
        for i in range(size)
    ]
    loads = Counter(n[1:3] for n in place(node_set(nodes), tasks(12, spread("dc", "rack"))))
    assert loads == {"b1": 6, "a1": 3, "a2": 3}


def test_nodes_without_the_label_are_a_branch_of_their_own() -> None:
    nodes = [node("n1", labels={"zone": "a"}), node("n2"), node("n3")]
    assert Counter(place(node_set(nodes), tasks(4, spread("zone")))) == {"n1": 2, "n2": 1, "n3": 1}


def test_small_services_do_not_all_meet_in_the_first_zone() -> None:
    nodes = node_set([node(f"n{i}", labels={"zone": str(i)}) for i in range(3)])
    chosen = [place(nodes, [task(f"t{i}", service=f"s{i}", placement=spread("zone"))]) for i in range(3)]
    assert sorted(node_id for (node_id,) in chosen) == ["n0", "n1", "n2"]


def test_tasks_on_nodes_that_take_no_more_count_for_their_zone() -> None:
    nodes = [
        node("n1", labels={"zone": "a"}),
        node("n2", labels={"zone": "a"}, state=NodeState.DOWN),
        node("n3", labels={"zone": "b"}),
    ]
    before = [running(f"b{i}", "n2") for i in range(2)]
    assert place(node_set(nodes, before), tasks(3, spread("zone"))) == ["n3", "n3", "n1"]


def test_the_fewest_tasks_of_all_decide_between_equals_then_the_id() -> None:
    nodes = [node("n3"), node("n2"), node("n1")]
    before = [running("b1", "n1", "other"), running("b2", "n3", "other"), running("b3", "n3", "other")]
    assert place(node_set(nodes, before), tasks(2)) == ["n2", "n1"]
    assert place(node_set(nodes), tasks(3)) == ["n1", "n2", "n3"]


def test_a_task_that_is_to_end_is_no_load() -> None:
    leaving = task("b1", node_id="n1", state=TaskState.RUNNING, desired=TaskState.SHUTDOWN)
    assert place(node_set([node("n1"), node("n2")], [leaving]), tasks(1)) == ["n1"]


def fail(nodes: NodeSet, times: int, version: int = 1, at: timedelta = timedelta()) -> None:
    for i in range(times):
        nodes.put_task(running(f"f{version}.{i}", "n1"), NOW + at)
        nodes.put_task(
            task(f"f{version}.{i}", version=version, node_id="n1", state=TaskState.FAILED), NOW + at
        )


def two_nodes() -> NodeSet:
    return node_set([node("n1"), node("n2")])


def test_a_node_where_the_service_keeps_failing_comes_last() -> None:
    nodes = two_nodes()
    fail(nodes, MAX_FAILURES)
    assert place(nodes, tasks(3)) == ["n2", "n2", "n2"]
    other = [task("o1", service="other"), task("o2", service="other")]
    assert place(nodes, other) == ["n1", "n2"]


def test_a_few_failures_are_no_reason() -> None:
    nodes = two_nodes()
    fail(nodes, MAX_FAILURES - 1)
    assert place(nodes, tasks(1)) == ["n1"]


def test_old_failures_and_those_of_other_versions_are_forgotten() -> None:
    nodes = two_nodes()
    fail(nodes, MAX_FAILURES, at=-FAILURE_WINDOW)
    fail(nodes, MAX_FAILURES, version=2)
    assert place(nodes, tasks(1)) == ["n1"]


def test_failures_are_remembered_from_the_stored_tasks() -> None:
    failed = [
        task(f"f{i}", node_id="n1", state=TaskState.FAILED, when=NOW - timedelta(seconds=i))
        for i in range(MAX_FAILURES)
    ]
    assert place(node_set([node("n1"), node("n2")], failed), tasks(1)) == ["n2"]


def test_a_node_that_is_the_last_choice_is_still_a_choice() -> None:
    nodes = node_set([node("n1")])
    fail(nodes, MAX_FAILURES)
    assert place(nodes, tasks(1)) == ["n1"]


def test_tasks_of_different_versions_are_weighed_together() -> None:
    old, new = task("t1", version=1), task("t2", version=2)
    assert old.spec_version == Version(index=1)
    assert place(two_nodes(), [old, new]) == ["n1", "n2"]


def test_nodes_are_compared_by_what_they_are_now() -> None:
    nodes = two_nodes()
    changed: Node = node("n1", state=NodeState.DOWN)
    assert nodes.put_node(changed)
    assert place(nodes, tasks(2)) == ["n2", "n2"]
