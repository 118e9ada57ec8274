"""Whether an ended task gets a successor, and when that may start. Pure: all of it follows from stored tasks.

So a new leader needs nothing from the old one, and a delay goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile

from manager.orchestrator.fitness import must_move
from manager.rules.current import is_lost
from swarmcore.durations import duration
from swarmcore.errors import Invalid
from swarmcore.model.base import Version
from swarmcore.model.endpoint import DRAIN_LABEL
from swarmcore.model.node import Node
from swarmcore.model.policy import RestartCondition, RestartPolicy
from swarmcore.model.task import Task, TaskState

#: A successor waits so long for its predecessor to stop, and no longer (swarmkit's old-task timeout), unless stopping
#: may take longer by the task's own settings; then so much more than these say, for the way there and back.
OLD_TASK_TIMEOUT = timedelta(minutes=1)
STOP_MARGIN = timedelta(seconds=10)
#: Ends that come from the task itself; these earn the policy's delay.
_OWN_END = frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED})


def policy_of(task: Task) -> RestartPolicy:
    return task.spec.restart_policy or RestartPolicy()


def should_restart(task: Task, of_place: Sequence[Task]) -> bool:
    """`of_place` are all stored tasks of the task's place, itself included."""
    policy = policy_of(task)
    if policy.condition is RestartCondition.NONE:
        return False
    if policy.condition is RestartCondition.ON_FAILURE and task.status.state is TaskState.COMPLETE:
        return False
    if not policy.max_attempts or not ended_by_itself(task):
        return True  # one that was stopped, moved or lost has failed at nothing: it uses up no attempt
    return _restarts(task, of_place, policy) < policy.max_attempts


def ended_by_itself(task: Task) -> bool:
    return task.status.state in _OWN_END


def _restarts(task: Task, of_place: Sequence[Task], policy: RestartPolicy) -> int:
    """How often the policy has made a successor for this spec: once for each earlier task that ended by itself.

    With a window, only those count that ended less than that before, in time that the place was running: what the
    policy's own delay takes, or a preparation that fails, does not make a restart a success. Otherwise a window that
    is not longer than the delay would never hold two failures, and the policy would go on for ever.
    """
    same_spec = sorted((t for t in of_place if t.spec_version == task.spec_version), key=age)
    older = list(takewhile(lambda other: other.id != task.id, same_spec))
    failures = [other for other in older if ended_by_itself(other)]
    ended = seen_at(task)
    if not policy.window or ended is None:
        return len(failures)
    window, idle = _span(policy.window), timedelta()
    later, at, count = task, ended, 0
    for failure in reversed(failures):
        before = seen_at(failure) or at
        idle += min(at - before, _waited(later, policy))
        if ended - before - idle >= window:
            break
        later, at, count = failure, before, count + 1
    return count


def _waited(task: Task, policy: RestartPolicy) -> timedelta:
    """How much of the time between its predecessor's end and its own it did not run, at most."""
    delay = _span(policy.delay_ns)
    ended = seen_at(task)
    if task.status.state is not TaskState.REJECTED or ended is None or task.created_at is None:
        return delay
    return delay + max(ended - task.created_at, timedelta())


def _span(nanoseconds: int) -> timedelta:
    return timedelta(microseconds=nanoseconds / 1000)


def age(task: Task) -> tuple[bool, float, str]:
    """Sorts a place's tasks, oldest first.

    A task that shall run is newer than one that shall not, whatever their times say: the clocks of two leaders
    differ, and no successor may be taken for its predecessor.
    """
    created = task.created_at.timestamp() if task.created_at is not None else 0.0
    return (task.desired_state <= TaskState.RUNNING, created, task.id)


def seen_at(task: Task) -> datetime | None:
    """When it came to its state. The time is its node's, and not believed if it lies in the future of the store."""
    times = [time for time in (task.status.timestamp, task.updated_at) if time is not None]
    return min(times) if times else None


def up_since(task: Task, now: datetime) -> datetime:
    """Since when it has been in its state for sure, by the managers' clocks."""
    return task.updated_at or task.status.timestamp or now


def has_given_up(of_place: Sequence[Task], version: Version) -> bool:
    """The last task of this version ended by itself, and its policy lets none follow."""
    mine = [task for task in of_place if task.spec_version == version]
    if not mine or mine[-1].desired_state <= TaskState.RUNNING:
        return False
    return ended_by_itself(mine[-1]) and not should_restart(mine[-1], of_place)


def start_time(task: Task, older: Sequence[Task], node_of: Mapping[str, Node]) -> datetime:
    """When a task that waits (desired READY) may start: after its delay, and when its predecessors have stopped.

    `older` are the stored tasks of its place that were made before it, oldest first. One of them that shall run
    beside it (start-first) is no predecessor.
    """
    assert task.created_at is not None, "a stored task has a time"
    before = [other for other in older if other.desired_state > TaskState.RUNNING]
    start = task.created_at + _span(_delay(task, before, node_of))
    stopping = [stop_time(other) for other in before if still_runs(other, node_of.get(other.node_id))]
    return max([start, *(task.created_at + longest for longest in stopping)])


def stop_time(task: Task) -> timedelta:
    """How long it may take until a task that was told to stop has ended: its connections end, then its grace period."""
    try:
        drain = duration(task.service_annotations.labels.get(DRAIN_LABEL, "0"))
    except Invalid:  # the control API takes none of these
        drain = 0
    return max(OLD_TASK_TIMEOUT, _span(drain + task.spec.container.stop_grace_ns) + STOP_MARGIN)


def _delay(task: Task, before: Sequence[Task], node_of: Mapping[str, Node]) -> int:
    """Nanoseconds."""
    if not before:
        return 0
    last = before[-1]
    moved = must_move(last, node_of.get(last.node_id))
    updated = last.spec_version != task.spec_version
    if moved or updated or not ended_by_itself(last):
        return 0
    return policy_of(last).delay_ns


def still_runs(task: Task, node: Node | None) -> bool:
    return not task.status.state.is_final and not is_lost(task, node)


def successor_state(old: Task, node: Node | None) -> TaskState:
    """The desired state that a successor begins with: RUNNING where there is nothing to wait for."""
    own_end = ended_by_itself(old) and not must_move(old, node)
    if own_end and policy_of(old).delay_ns > 0:
        return TaskState.READY
    return TaskState.READY if still_runs(old, node) else TaskState.RUNNING
