"""The diff that one node is sent."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from manager.dispatcher.assignments import MAX_BYTES, NodeAssignments
from manager.store.tables import CLUSTERS, CONFIGS, NETWORKS, NODES, SECRETS, SERVICES, TASKS, Table, View
from swarmcore.model.base import Version
from swarmcore.model.secret import Secret
from swarmcore.model.task import Task, TaskState, TaskStatus
from swarmcore.rpc.messages.session import Assignments, joined
from tests.manager.dispatcher.bench import encoded, secret, task


def view(tasks: list[Task], secrets: list[Secret] | None = None) -> View:
    return View(
        index=1,
        nodes=Table(NODES),
        services=Table(SERVICES),
        tasks=Table(TASKS, tasks),
        networks=Table(NETWORKS),
        secrets=Table(SECRETS, secrets or []),
        configs=Table(CONFIGS),
        clusters=Table(CLUSTERS),
    )


def sent(work: Iterable[Assignments | None]) -> list[Assignments]:
    """All messages; so few tasks leave no turn to others in between."""
    messages = []
    for message in work:
        assert message is not None
        messages.append(message)
    return messages


def ids(message: Assignments) -> list[str]:
    return [t.id for t in message.tasks]


def test_the_first_message_is_everything_of_this_node() -> None:
    tasks = [task("t1"), task("t2", node_id="n2"), task("t3", state=TaskState.PENDING)]
    (message,) = sent(NodeAssignments("n1").full(view(tasks)))
    assert (ids(message), message.full, message.applies_to, message.results_in) == (["t1"], True, 0, 1)


def test_a_node_without_tasks_is_told_so() -> None:
    (message,) = sent(NodeAssignments("n1").full(view([])))
    assert message.full and not message.tasks


def test_a_status_alone_is_not_sent_back() -> None:
    node = NodeAssignments("n1")
    list(node.full(view([task("t1")])))
    running = replace(task("t1"), status=TaskStatus(state=TaskState.RUNNING), version=Version(index=9))
    assert list(node.changes(view([running]), ["t1"])) == []


def test_a_new_desired_state_is_sent_with_the_next_number() -> None:
    node = NodeAssignments("n1")
    list(node.full(view([task("t1"), task("t2")])))
    (message,) = sent(node.changes(view([task("t1", desired=TaskState.SHUTDOWN), task("t2")]), ["t1", "t2"]))
    assert (ids(message), message.applies_to, message.results_in, message.full) == (["t1"], 1, 2, False)


def test_a_deleted_task_is_removed_once() -> None:
    node = NodeAssignments("n1")
    list(node.full(view([task("t1")])))
    (message,) = sent(node.changes(view([]), ["t1", "never-sent"]))
    assert message.removed_tasks == ("t1",)
    assert list(node.changes(view([]), ["t1"])) == []


def test_secrets_come_with_the_first_task_and_go_with_the_last() -> None:
    node = NodeAssignments("n1")
    x = secret("x1")
    (first,) = sent(node.full(view([task("t1", secrets=("x1",))], [x])))
    assert [s.id for s in first.secrets] == ["x1"]
    both = [task("t1", secrets=("x1",)), task("t2", secrets=("x1",))]
    (second,) = sent(node.changes(view(both, [x]), ["t2"]))
    assert second.secrets == ()
    ended = [replace(both[0], status=TaskStatus(state=TaskState.FAILED)), both[1]]
    assert list(node.changes(view(ended, [x]), ["t1"])) == []
    ended[1] = replace(ended[1], desired_state=TaskState.SHUTDOWN)
    (last,) = sent(node.changes(view(ended, [x]), ["t2"]))
    assert last.removed_secrets == ("x1",)


def test_after_a_lag_everything_is_compared() -> None:
    node = NodeAssignments("n1")
    list(node.full(view([task("t1"), task("t2")])))
    (message,) = sent(node.changes(view([task("t2"), task("t3")]), None))
    assert (ids(message), message.removed_tasks) == (["t3"], ("t1",))


def test_what_is_large_comes_in_parts_that_count_as_one() -> None:
    names = tuple(f"x{number:02}" for number in range(20))
    secrets = [secret(name, b"x" * 490_000) for name in names]
    tasks = [task(f"t{number}") for number in range(150)] + [task("big", secrets=names)]
    parts = sent(NodeAssignments("n1").full(view(tasks, secrets)))
    assert len(parts) > 3
    assert [part.full for part in parts] == [True] + [False] * (len(parts) - 1)
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(encoded(part) < MAX_BYTES * 2 for part in parts)
    whole = joined(parts)
    assert (len(whole.tasks), len(whole.secrets), whole.full, whole.more) == (151, 20, True, False)
    assert (whole.applies_to, whole.results_in) == (0, len(parts))
