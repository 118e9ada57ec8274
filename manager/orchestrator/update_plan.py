"""The next move of a rolling update. Pure: how far it is follows from the tasks, so any leader can go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from manager.orchestrator.places import live
from manager.orchestrator.restart_policy import seen_at, still_runs
from manager.orchestrator.steps import MAX_STEPS, Around, Step
from manager.rules.current import is_current
from swarmcore.aio import STRETCH, Turns, stretches
from swarmcore.model.place import Place
from swarmcore.model.policy import SECOND, FailureAction, UpdateConfig, UpdateOrder
from swarmcore.model.service import Service, UpdateState, UpdateStatus
from swarmcore.model.task import Task, TaskState

#: What Docker does where a service has no update settings: one place at a time.
DEFAULT = UpdateConfig(parallelism=1)
#: How long a task may take to run, where nobody saw since when it ran before it ended.
SLOW_START = timedelta(minutes=1)
#: So long a new task stays up before it ends the one that it stands beside: this part of the monitor, and no longer.
SETTLES, SETTLES_AT_MOST = 5, timedelta(seconds=10)
UNDER_WAY = frozenset({UpdateState.UPDATING, UpdateState.ROLLBACK_STARTED})
_STOPPED = frozenset({UpdateState.PAUSED, UpdateState.ROLLBACK_PAUSED})
_FAILED = frozenset({TaskState.COMPLETE, TaskState.FAILED, TaskState.REJECTED})
_Places = Mapping[Place, Sequence[Task]]


class Move(Struct, frozen=True, kw_only=True):
    steps: tuple[Step, ...] = ()
    due: datetime | None = None
    status: UpdateStatus | None = None
    roll_back: bool = False


def next_move_in_turns(
    service: Service, places: _Places, dirty: Sequence[Place], around: Around, *, moving: bool = False
) -> Turns[Move]:
    """`places` are the filled ones, `dirty` those of them whose last task is not what the service wants.

    `moving`: another such place gets a new task just now for another reason, so this is not the end.
    """
    status = service.update_status
    if status is not None and status.state in _STOPPED:
        return Move()
    if status is None or status.state not in UNDER_WAY:
        if not dirty:
            return Move()
        status = UpdateStatus(state=UpdateState.UPDATING, started_at=around.now, message="update in progress")
    elif status.started_at is None:  # asked for by hand: it begins now
        status = replace(status, started_at=around.now)
    move = yield from _go_on(service, status, places, dirty, around, moving)
    return replace(move, status=status) if move.status is None and status != service.update_status else move


def _go_on(
    service: Service,
    status: UpdateStatus,
    places: _Places,
    dirty: Sequence[Place],
    around: Around,
    moving: bool,
) -> Turns[Move]:
    config = settings(service, status)
    firsts: list[Task] = []
    failed: list[Task] = []
    for part in stretches(places.values()):
        found = [task for some in part if (task := first_task(service, status, some)) is not None]
        firsts += found
        failed += [task for task in found if _counts_as_failure(task, config, around)]
        yield
    too_many = len(failed) > config.max_failure_ratio * len(places)
    if too_many and config.failure_action is not FailureAction.CONTINUE:
        return _give_up(service, status, config, failed[0], around.now)
    busy, due = yield from _busy(service, places, dirty, config, around.now)
    if not dirty:
        if busy or moving:
            return Move(due=due)
        return (yield from _finish(status, firsts, config, around.now))
    room = len(dirty) if config.parallelism == 0 else max(0, config.parallelism - busy)
    steps: list[Step] = []
    for some in stretches(dirty[: min(room, MAX_STEPS)]):
        steps += [_replace(place, places[place], service, config, around) for place in some]
        yield
    return Move(steps=tuple(steps), due=due)


def settings(service: Service, status: UpdateStatus) -> UpdateConfig:
    rolls_back = status.state is UpdateState.ROLLBACK_STARTED
    return (service.spec.rollback_config if rolls_back else service.spec.update_config) or DEFAULT


def settle_time(service: Service) -> timedelta:
    """How long the new task of a start-first update has to stay up before the old one goes."""
    status = service.update_status or UpdateStatus()
    return min(_span(settings(service, status).monitor_ns) / SETTLES, SETTLES_AT_MOST)


def first_task(service: Service, status: UpdateStatus, of_place: Sequence[Task]) -> Task | None:
    """The first one that this update made in the place. What comes of its successors is the restart policy's."""
    mine = [task for task in of_place if task.spec_version == service.spec_version]
    since = [t for t in mine if t.created_at and status.started_at and t.created_at >= status.started_at]
    return since[0] if since else None


def _counts_as_failure(task: Task, config: UpdateConfig, around: Around) -> bool:
    """It ended by itself; one that had run for the monitor's time did not fail the update."""
    if task.status.state not in _FAILED:
        return False
    if task.status.state is TaskState.REJECTED:
        return True  # it never ran
    ended, monitor = task.status.timestamp, _span(config.monitor_ns)
    if (began := around.began.get(task.id)) is None and task.created_at is not None:
        began, monitor = task.created_at, monitor + SLOW_START
    return ended is None or began is None or ended - began <= monitor


def _busy(
    service: Service, places: _Places, dirty: Sequence[Place], config: UpdateConfig, now: datetime
) -> Turns[tuple[int, datetime | None]]:
    """How many places are being renewed or rest after that, and when the first of these has rested."""
    busy, due = 0, None
    waiting = set(dirty)
    for position, (place, of_place) in enumerate(places.items(), 1):
        if position % STRETCH == 0:
            yield
        mine = [task for task in of_place if task.spec_version == service.spec_version]
        if place in waiting or not mine or len(mine) == len(of_place):
            continue  # the update has not been here: the place is still to come, or is a new one
        came = [seen_at(task) for task in mine if task.status.state >= TaskState.RUNNING]
        alive = live(of_place)
        if not came or (len(alive) > 1 and alive[-1].status.state is TaskState.RUNNING):
            busy += 1  # it does not run yet, or has not ended the old one yet
        elif config.delay and (times := [time for time in came if time is not None]):
            until = min(times) + _span(config.delay)
            if until > now:
                busy += 1
                due = until if due is None else min(due, until)
    return busy, due


def _replace(
    place: Place, of_place: Sequence[Task], service: Service, config: UpdateConfig, around: Around
) -> Step:
    old = [task for task in live(of_place) if not around.is_over(task)]  # the others are stopped anyway
    for task in old:
        if task.status.state is TaskState.RUNNING and is_current(task, service, around.node_of(task)):
            # A start-first update left it running and is rolled back: what is wanted is here already.
            return Step(
                stop=tuple(other.id for other in old if other is not task),
                start=(task.id,) if task.desired_state < TaskState.RUNNING else (),
            )
    if not old or config.order is UpdateOrder.START_FIRST:
        return Step(create_in=place)  # the old ones stop when the new one runs
    waits = any(still_runs(task, around.node_of(task)) for task in old)
    return Step(
        stop=tuple(task.id for task in old),
        create_in=place,
        create_as=TaskState.READY if waits else TaskState.RUNNING,
    )


def _finish(status: UpdateStatus, firsts: Sequence[Task], config: UpdateConfig, now: datetime) -> Turns[Move]:
    """Everything is replaced: watch the last ones for the monitor's time, then it is done."""
    times = [time for time in (status.started_at,) if time is not None]
    for part in stretches(firsts):
        alive = [task for task in part if not task.status.state.is_final]  # of the others all is known
        times += [time for time in map(seen_at, alive) if time is not None]
        yield
    watch = config.monitor_ns if config.delay < config.monitor_ns else config.delay + SECOND
    if times and (done := max(times) + _span(watch)) > now:
        return Move(due=done)
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
