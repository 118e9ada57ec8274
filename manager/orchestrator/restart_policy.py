"""Whether an ended task gets a successor, and when that may start. Pure: all of it follows from stored tasks.

So a new leader needs nothing from the old one, and a delay goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from manager.current import is_lost
from manager.orchestrator.fitness import must_move
from swarmcore.model.base import Version
from swarmcore.model.node import Node
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.task import Task, TaskState

#: A successor waits so long for its predecessor to stop, and no longer (swarmkit's old-task timeout).
OLD_TASK_TIMEOUT = timedelta(minutes=1)
#: Ends that come from the task itself; these earn the policy's delay.
_OWN_END = frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED})


def policy_of(task: Task) -> RestartPolicy:
    return task.spec.restart_policy or RestartPolicy()


def should_restart(task: Task, slot: Sequence[Task]) -> bool:
    """`slot` holds all stored tasks of the task's slot, itself included."""
    policy = policy_of(task)
    if policy.condition is RestartCondition.NONE:
        return False
    if policy.condition is RestartCondition.ON_FAILURE and task.status.state is TaskState.COMPLETE:
        return False
    if not policy.max_attempts:
        return True
    return _restarts(task, slot, policy) < policy.max_attempts


def _restarts(task: Task, slot: Sequence[Task], policy: RestartPolicy) -> int:
    """Successors made so far for this spec, within the window before the task's end where there is one."""
    same_spec = sorted((t for t in slot if t.spec_version == task.spec_version), key=age)
    successors = same_spec[1:]
    ended = seen_at(task)
    if policy.window and ended is not None:
        begin = ended - timedelta(microseconds=policy.window / 1000)
        return sum(1 for t in successors if t.created_at is not None and t.created_at > begin)
    return len(successors)


def age(task: Task) -> tuple[bool, float, str]:
    """Sorts a slot's tasks, oldest first.

    A task that shall run is newer than one that shall not, whatever their times say: the clocks of two leaders
    differ, and no successor may be taken for its predecessor.
    """
    created = task.created_at.timestamp() if task.created_at is not None else 0.0
    return (task.desired_state <= TaskState.RUNNING, created, task.id)


def seen_at(task: Task) -> datetime | None:
    """When it came to its state. The time is its node's, and not believed if it lies in the future of the store."""
    times = [time for time in (task.status.timestamp, task.updated_at) if time is not None]
    return min(times) if times else None


def has_given_up(slot: Sequence[Task], version: Version) -> bool:
    """The last task of this version ended by itself, and its policy lets none follow."""
    mine = [task for task in slot if task.spec_version == version]
    if not mine or mine[-1].desired_state <= TaskState.RUNNING:
        return False
    return mine[-1].status.state in _OWN_END and not should_restart(mine[-1], slot)


def start_time(task: Task, older: Sequence[Task], node_of: Mapping[str, Node]) -> datetime:
    """When a task that waits (desired READY) may start: after its delay, and when its predecessors have stopped.

    `older` are the stored tasks of its slot that were made before it, oldest first. One of them that shall run
    beside it (start-first) is no predecessor.
    """
    assert task.created_at is not None, "a stored task has a time"
    before = [other for other in older if other.desired_state > TaskState.RUNNING]
    start = task.created_at + timedelta(microseconds=_delay(task, before, node_of) / 1000)
    if any(still_runs(other, node_of.get(other.node_id)) for other in before):
        return max(start, task.created_at + OLD_TASK_TIMEOUT)
    return start


def _delay(task: Task, before: Sequence[Task], node_of: Mapping[str, Node]) -> int:
    """Nanoseconds."""
    if not before:
        return 0
    last = before[-1]
    moved = must_move(last, node_of.get(last.node_id))
    updated = last.spec_version != task.spec_version
    if moved or updated or last.status.state not in _OWN_END:
        return 0
    return policy_of(last).delay_ns


def still_runs(task: Task, node: Node | None) -> bool:
    return not task.status.state.is_final and not is_lost(task, node)


def successor_state(old: Task, node: Node | None) -> TaskState:
    """The desired state that a successor begins with: RUNNING where there is nothing to wait for."""
    own_end = old.status.state in _OWN_END and not must_move(old, node)
    if own_end and policy_of(old).delay_ns > 0:
        return TaskState.READY
    return TaskState.READY if still_runs(old, node) else TaskState.RUNNING
