"""What a replicated service needs next. Pure: it follows from the service, its tasks, the nodes and the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice

from manager.current import is_current
from manager.orchestrator.restart_policy import has_given_up, should_restart, start_time, successor_state
from manager.orchestrator.slots import by_slot, free_numbers, is_filled, live, surplus
from manager.orchestrator.steps import Around, Plan, Step
from manager.orchestrator.update_plan import next_move
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState


def plan_removed(tasks: Iterable[Task]) -> Plan:
    """The service is gone: so shall its tasks be."""
    return Plan(steps=_remove(tasks))


def plan(service: Service, tasks: Iterable[Task], around: Around) -> Plan:
    """Steps are safe to repeat: what is done already gives no step."""
    slots = {number: slot for number, slot in by_slot(tasks).items() if is_filled(slot)}
    wanted = service.spec.replicas
    steps: list[Step] = []
    for number in surplus(slots, wanted) if len(slots) > wanted else ():
        steps += _remove(slots.pop(number))
    steps += [Step(create_in=number) for number in islice(free_numbers(slots), wanted - len(slots))]
    due: list[datetime] = []
    dirty: list[int] = []
    moving = False
    for number, slot in sorted(slots.items()):
        last = (live(slot) or slot)[-1]  # one that has ended for good is renewed too
        current = is_current(last, service, around.node_of(last))
        wanted_again = any(is_current(task, service, around.node_of(task)) for task in live(slot)[:-1])
        if _keep_slot(number, slot, around, steps, due, takes_over=current or not wanted_again):
            moving = moving or not current
        elif not current and not has_given_up(slot, service.spec_version):
            dirty.append(number)  # given up: trying for ever is not what the policy asks for
    move = next_move(service, slots, dirty, around, moving=moving)
    if move.due is not None:
        due.append(move.due)
    return Plan(
        steps=(*steps, *move.steps),
        due=min(due) if due else None,
        update_status=move.status,
        roll_back_to=service.previous_spec if move.roll_back else None,
    )


def _remove(tasks: Iterable[Task]) -> tuple[Step, ...]:
    return tuple(Step(remove=(task.id,)) for task in tasks if task.desired_state < TaskState.REMOVE)


def _keep_slot(
    number: int,
    slot: Sequence[Task],
    around: Around,
    steps: list[Step],
    due: list[datetime],
    *,
    takes_over: bool,
) -> bool:
    """Replace what has ended or must leave its node, start what has waited long enough. True if it was replaced.

    `takes_over`: the newest task, once it runs, ends those beside it. A rollback may want one of these again.
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
    if newest.status.state is TaskState.RUNNING and takes_over:
        over = running[:-1]
    if over:
        steps.append(Step(stop=tuple(task.id for task in over)))
    if newest.desired_state < TaskState.RUNNING:
        start = start_time(newest, slot[: slot.index(newest)], around.nodes)
        if start <= around.now:
            steps.append(Step(start=(newest.id,)))
        else:
            due.append(start)
    return False
