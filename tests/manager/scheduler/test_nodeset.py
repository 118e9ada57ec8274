from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.scheduler.nodeset import NodeInfo
from swarmcore.model.base import Version
from swarmcore.model.node import ManagerStatus, NodeState, Reachability
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task, TaskState
from tests.manager.scheduler.objects import NOW, node, node_set, running, task

STATES = [s for s in TaskState if s is not TaskState.REMOVE]


def sums(info: NodeInfo) -> tuple[object, ...]:
    return set(info.tasks), info.active, info.active_of("web"), info.free.memory_bytes, +info.ports


steps = st.tuples(
    st.integers(0, 4),  # which task
    st.sampled_from(["n1", "n2", "gone", ""]),
    st.sampled_from(STATES),
    st.sampled_from([TaskState.READY, TaskState.RUNNING, TaskState.SHUTDOWN]),
    st.booleans(),  # remove it
)


@given(st.lists(steps, max_size=30))
def test_following_commits_gives_what_reading_the_state_gives(
    story: list[tuple[int, str, TaskState, TaskState, bool]],
) -> None:
    nodes = [node("n1"), node("n2")]
    followed, stored = node_set(nodes), dict[str, Task]()
    for i, node_id, state, desired, remove in story:
        each = task(
            f"t{i}",
            node_id=node_id,
            state=state,
            desired=desired,
            reserve=Resources(memory_bytes=10 + i),
            host_port=80 + i,
        )
        if remove:
            stored.pop(each.id, None)
            followed.remove_task(each.id)
        else:
            stored[each.id] = each
            followed.put_task(each, NOW)
    fresh = node_set(nodes, stored.values())
    assert [sums(info) for info in followed] == [sums(info) for info in fresh]


def test_room_is_made_by_the_end_of_a_task_and_by_the_wish_to_end_it() -> None:
    nodes = node_set([node("n1")])
    assert not nodes.put_task(running("t1", "n1"), NOW)
    assert not nodes.put_task(running("t1", "n1"), NOW)
    leaving = replace(running("t1", "n1"), desired_state=TaskState.SHUTDOWN)
    assert nodes.put_task(leaving, NOW)
    ended = task("t1", node_id="n1", state=TaskState.SHUTDOWN, desired=TaskState.SHUTDOWN)
    assert nodes.put_task(ended, NOW)
    assert not nodes.put_task(ended, NOW)
    assert not nodes.remove_task("t1")


def test_only_what_filters_look_at_makes_a_node_worth_another_look() -> None:
    nodes = node_set([node("n1")])
    status = ManagerStatus(reachability=Reachability.REACHABLE)
    assert not nodes.put_node(replace(node("n1"), version=Version(index=7), manager_status=status))
    assert nodes.put_node(node("n1", labels={"a": "b"}))
    assert nodes.put_node(node("n1", state=NodeState.DOWN))
    assert nodes.put_node(node("n2"))


def test_a_resized_node_keeps_what_its_tasks_hold() -> None:
    nodes = node_set(
        [node("n1")],
        [task("t1", node_id="n1", state=TaskState.RUNNING, reserve=Resources(memory_bytes=300))],
    )
    nodes.put_node(node("n1", resources=Resources(memory_bytes=500)))
    info = nodes.get("n1")
    assert info is not None
    assert info.free.memory_bytes == 200


def test_a_removed_node_takes_its_tasks_along() -> None:
    nodes = node_set([node("n1")], [running("t1", "n1")])
    assert nodes.remove_node("n1")
    assert not nodes.remove_node("n1")
    assert not nodes.put_task(running("t1", "n1"), NOW)
    assert nodes.get("n1") is None
