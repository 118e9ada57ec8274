"""The next move of a rolling update. Pure: how far it is follows from the tasks, so any leader can go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from manager.orchestrator.restart_policy import successor_state
from manager.orchestrator.slots import live
from manager.orchestrator.steps import Step
from swarmcore.model.node import Node
from swarmcore.model.policy import FailureAction, UpdateConfig, UpdateOrder
from swarmcore.model.service import Service, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState

#: What Docker does where a service has no update settings: one slot at a time.
DEFAULT = UpdateConfig(parallelism=1)
_FAILED = frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED})
_STOPPED = frozenset({UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED})
_UNDER_WAY = frozenset({UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED})


class Move(Struct, frozen=True, kw_only=True):
    steps: tuple[Step, ...] = ()
    due: datetime | None = None
    status: UpdateStatus | None = None
    roll_back: bool = False


def next_move(
    service: Service,
    slots: Mapping[int, Sequence[Task]],
    dirty: Sequence[int],
    nodes: Mapping[str, Node],
    now: datetime,
) -> Move:
    """`slots` are the filled ones, `dirty` those of them whose live task is not what the service wants."""
    status = service.update_status
    if status is not None and status.state in _STOPPED:
        return Move()
    if status is None or status.state not in _UNDER_WAY:
        if not dirty:
            return Move()
        status = UpdateStatus(state=UpdateState.UPDATING, started_at=now, message="update in progress")
        return _go_on(service, status, slots, dirty, nodes, now, written=status)
    if status.started_at is None:
        status = replace(status, started_at=now)
        return _go_on(service, status, slots, dirty, nodes, now, written=status)
    return _go_on(service, status, slots, dirty, nodes, now, written=None)


def settings(service: Service, status: UpdateStatus | None) -> UpdateConfig:
    rolls_back = status is not None and status.state is UpdateState.ROLLBACK_STARTED
    return (service.spec.rollback_config if rolls_back else service.spec.update_config) or DEFAULT


def _go_on(
    service: Service,
    status: UpdateStatus,
    slots: Mapping[int, Sequence[Task]],
    dirty: Sequence[int],
    nodes: Mapping[str, Node],
    now: datetime,
    *,
    written: UpdateStatus | None,
) -> Move:
    config = settings(service, status)
    updated = [t for slot in slots.values() for t in slot if _is_of(t, service, status)]
    failed = [task for task in updated if _counts_as_failure(task, config)]
    too_many = len(failed) / max(1, len(slots)) > config.max_failure_ratio
    if too_many and config.failure_action is not FailureAction.CONTINUE:
        return _give_up(service, status, config, failed[0], now)
    busy, due = _busy(slots, dirty, config, now)
    if not dirty:
        return _finish(status, updated, config, busy, now, written)
    room = len(dirty) if config.parallelism == 0 else max(0, config.parallelism - busy)
    steps = tuple(_replace(number, slots[number], config, nodes) for number in dirty[:room])
    return Move(steps=steps, due=due, status=written)


def _is_of(task: Task, service: Service, status: UpdateStatus) -> bool:
    began = status.started_at
    return (
        task.spec_version == service.spec_version
        and task.created_at is not None
        and (began is None or task.created_at >= began)
    )


def _counts_as_failure(task: Task, config: UpdateConfig) -> bool:
    """It ended by itself while the update goes on; one that had run for the monitor's time did not fail it."""
    if task.status.state not in _FAILED:
        return False
    ended, made = task.status.timestamp, task.created_at
    return ended is None or made is None or ended - made <= _span(config.monitor_ns) + timedelta(minutes=1)


def _busy(
    slots: Mapping[int, Sequence[Task]], dirty: Sequence[int], config: UpdateConfig, now: datetime
) -> tuple[int, datetime | None]:
    """How many slots are being replaced, or rest after that, and until when at the longest."""
    busy, due = 0, None
    for number, slot in slots.items():
        running = live(slot)
        if number in dirty or not running:
            continue
        newest = running[-1]
        if newest.status.state < TaskState.RUNNING or len(running) > 1:
            busy += 1
        elif config.delay and newest.status.timestamp is not None and len(slot) > 1:
            until = newest.status.timestamp + _span(config.delay)
            if until > now:
                busy += 1
                due = until if due is None else min(due, until)
    return busy, due


def _replace(number: int, slot: Sequence[Task], config: UpdateConfig, nodes: Mapping[str, Node]) -> Step:
    old = live(slot)
    if not old or config.order is UpdateOrder.START_FIRST:
        return Step(create_in=number)  # the old ones stop when the new one runs
    desired = successor_state(old[-1], nodes.get(old[-1].node_id))
    return Step(stop=tuple(task.id for task in old), create_in=number, create_as=desired)


def _finish(
    status: UpdateStatus,
    updated: Sequence[Task],
    config: UpdateConfig,
    busy: int,
    now: datetime,
    written: UpdateStatus | None,
) -> Move:
    """Everything is replaced: watch the last ones for the monitor's time, then it is done."""
    if busy:
        return Move(status=written)
    times = [task.status.timestamp for task in updated if task.status.timestamp is not None]
    done = max(times) + _span(config.monitor_ns) if times else now
    if done > now:
        return Move(due=done, status=written)
    back = status.state is UpdateState.ROLLBACK_STARTED
    return Move(
        status=replace(
            status,
            state=UpdateState.ROLLBACK_COMPLETED if back else UpdateState.COMPLETED,
            completed_at=now,
            message="rollback completed" if back else "update completed",
        )
    )


def _give_up(
    service: Service, status: UpdateStatus, config: UpdateConfig, failed: Task, now: datetime
) -> Move:
    cause = f"due to failure or early termination of task {failed.id}"
    if status.state is UpdateState.ROLLBACK_STARTED:  # a rollback is never rolled back
        paused = replace(status, state=UpdateState.ROLLBACK_PAUSED, message=f"rollback paused {cause}")
        return Move(status=paused)
    if config.failure_action is FailureAction.ROLLBACK and service.previous_spec is not None:
        started = UpdateStatus(
            state=UpdateState.ROLLBACK_STARTED, started_at=now, message=f"update rolled back {cause}"
        )
        return Move(status=started, roll_back=True)
    return Move(status=replace(status, state=UpdateState.PAUSED, message=f"update paused {cause}"))


def _span(nanoseconds: int) -> timedelta:
    return timedelta(microseconds=nanoseconds / 1000)
