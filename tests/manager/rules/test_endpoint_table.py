"""Which tasks get new connections by an endpoint table. `test_endpoints.py` of the dispatcher tests the rest."""

from __future__ import annotations

from manager.rules.endpoint_table import is_active
from swarmcore.model.task import Task, TaskState, TaskStatus


def test_a_task_is_active_while_it_runs_and_shall_run() -> None:
    def made(state: TaskState, desired: TaskState) -> Task:
        return Task(id="t1", node_id="w1", status=TaskStatus(state=state), desired_state=desired)

    assert is_active(made(TaskState.RUNNING, TaskState.RUNNING))
    assert is_active(made(TaskState.RUNNING, TaskState.COMPLETE)), "a job's task may be connected to"
    assert not is_active(made(TaskState.STARTING, TaskState.RUNNING))
    assert not is_active(made(TaskState.RUNNING, TaskState.SHUTDOWN))
