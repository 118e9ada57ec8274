"""What a replicated service needs next. Pure: it follows from the service, its tasks, the nodes and the time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain, islice

from msgspec.structs import replace

from manager.orchestrator.places import (
    Slots,
    by_slot_in_turns,
    free_numbers,
    is_filled,
    live,
    surplus_in_turns,
)
from manager.orchestrator.restart_policy import (
    has_given_up,
    should_restart,
    start_time,
    successor_state,
    up_since,
)
from manager.orchestrator.steps import MAX_STEPS, Around, Plan, Step
from manager.orchestrator.update_plan import next_move_in_turns, settle_time
from manager.rules.current import is_current
from swarmcore.aio import Turns, at_once, stretches
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState


def plan_removed(tasks: Iterable[Task]) -> Plan:
    """The service is gone: so shall its tasks be."""
    return at_once(plan_removed_in_turns(tasks))


def plan_removed_in_turns(tasks: Iterable[Task]) -> Turns[Plan]:
    steps: list[Step] = []
    for part in stretches(tasks):
        steps += _remove(part)
        if len(steps) > MAX_STEPS:
            break
        yield
    return _bounded(Plan(), iter(steps))


def plan(service: Service, tasks: Iterable[Task], around: Around) -> Plan:
    """Steps are safe to repeat: what is done already gives no step."""
    return at_once(plan_in_turns(service, tasks, around))


def plan_in_turns(service: Service, tasks: Iterable[Task], around: Around) -> Turns[Plan]:
    """As `plan`, with turns for others: it is made anew for all tasks of the service, and these may be many."""
    slots = yield from _filled(tasks)
    # The limit keeps new slots from being made; what was there before it stays.
    wanted = min(service.spec.replicas, max(around.max_replicas, len(slots)))
    steps: list[Step] = []
    surplus = (yield from surplus_in_turns(slots, wanted)) if len(slots) > wanted else []
    given_up = [slots.pop(number) for number in surplus]
    gone = _remove(task for slot in given_up for task in slot)
    missing = min(wanted - len(slots), MAX_STEPS + 1)  # one more tells that there are more
    new = (Step(create_in=number) for number in islice(free_numbers(slots), missing))
    due: list[datetime] = []
    dirty: list[int] = []
    moving = False
    settles = settle_time(service)
    for part in stretches(slots.items()):
        for number, slot in part:
            last = (live(slot) or slot)[-1]  # one that has ended for good is renewed too
            current = is_current(last, service, around.node_of(last))
            again = any(is_current(task, service, around.node_of(task)) for task in live(slot)[:-1])
            takes_over = settles if current or not again else None
            if _keep_slot(number, slot, around, steps, due, takes_over):
                moving = moving or not current
            elif not current and not has_given_up(slot, service.spec_version):
                dirty.append(number)  # given up: trying for ever is not what the policy asks for
        yield
    move = yield from next_move_in_turns(service, slots, dirty, around, moving=moving)
    if move.due is not None:
        due.append(move.due)
    made = Plan(
        due=min(due) if due else None,
        update_status=move.status,
        roll_back_to=service.previous_spec if move.roll_back else None,
    )
    return _bounded(made, chain(gone, new, steps, move.steps))


def _filled(tasks: Iterable[Task]) -> Turns[Slots]:
    slots = yield from by_slot_in_turns(tasks)
    filled: Slots = {}
    for part in stretches(slots.items()):
        filled |= {number: slot for number, slot in part if is_filled(slot)}
        yield
    return filled


def _bounded(plan: Plan, steps: Iterator[Step]) -> Plan:
    """With as many of the steps as one plan may have, and whether there are more."""
    taken = tuple(islice(steps, MAX_STEPS))
    return replace(plan, steps=taken, has_more=next(steps, None) is not None)


def _remove(tasks: Iterable[Task]) -> Iterator[Step]:
    return (Step(remove=(task.id,)) for task in tasks if task.desired_state < TaskState.REMOVE)


def _keep_slot(
    number: int,
    slot: Sequence[Task],
    around: Around,
    steps: list[Step],
    due: list[datetime],
    takes_over: timedelta | None,
) -> bool:
    """Replace what has ended or must leave its node, start what has waited long enough. True if it was replaced.

    `takes_over`: the newest task ends those beside it when it has been up for so long: what crashes at once must not
    cost a healthy one. None: it does not end them, for a rollback may want one of these again.
    """
    running = live(slot)
    if not running:
        return False
    newest = running[-1]
    over = [task for task in running if around.is_over(task)]
    if newest in over:
        again = should_restart(newest, slot)
        start = start_time(newest, slot[: slot.index(newest)], around.nodes)
        early = newest.desired_state < TaskState.RUNNING and start > around.now
        if again and early and not around.must_leave(newest):
            # It failed while it was prepared, before its time: so would its successors, one after the other.
            if others := tuple(task.id for task in over if task is not newest):
                steps.append(Step(stop=others))
            due.append(start)
            return False
        steps.append(
            Step(
                stop=tuple(task.id for task in over),
                create_in=number if again else None,
                create_as=successor_state(newest, around.node_of(newest)),
            )
        )
        return True
    if newest.status.state is TaskState.RUNNING and takes_over is not None and len(running) > 1:
        settled = up_since(newest, around.now) + takes_over
        if settled <= around.now:
            over = running[:-1]
        else:
            due.append(settled)
    if over:
        steps.append(Step(stop=tuple(task.id for task in over)))
    if newest.desired_state < TaskState.RUNNING:
        start = start_time(newest, slot[: slot.index(newest)], around.nodes)
        if start <= around.now:
            steps.append(Step(start=(newest.id,)))
        else:
            due.append(start)
    return False
