"""What a plan knows of a task's surroundings."""

from __future__ import annotations

import pytest

from manager.orchestrator.steps import Around
from swarmcore.model.node import NodeState
from swarmcore.model.task import Task
from tests.manager.orchestrator.objects import S, at, node, task


@pytest.mark.parametrize(
    ("one", "over"),
    [
        (task(), False),
        (task(state=S.FAILED), True),
        (task(node_id="n2"), True),
        (task(node_id="gone"), True),
        (task(node_id=""), False),
        (task("evicted"), True),
    ],
    ids=[
        "runs",
        "has ended",
        "its node is down",
        "its node is gone",
        "has no node yet",
        "has no room any more",
    ],
)
def test_a_task_is_over_when_it_has_ended_or_must_leave_its_node(one: Task, over: bool) -> None:
    nodes = {"n1": node("n1"), "n2": node("n2", NodeState.DOWN)}
    assert Around(now=at(0), nodes=nodes, evicted={"evicted"}).is_over(one) is over
