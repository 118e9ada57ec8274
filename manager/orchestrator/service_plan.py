"""What a service needs next. Pure: it follows from the service, its tasks, the nodes and the time.

The mode chooses the places (`places.Choose`). All that comes after is the same for every mode: what each place needs,
and the next move of the update.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice

from msgspec.structs import replace

from manager.orchestrator.places import Choose, filled_in_turns, live
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
from swarmcore.aio import Turns, stretches
from swarmcore.model.place import Place
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState


def plan_removed_in_turns(tasks: Iterable[Task]) -> Turns[Plan]:
    """The service is gone: so shall its tasks be."""
    steps: list[Step] = []
    for part in stretches(tasks):
        steps += _remove(part)
        if len(steps) > MAX_STEPS:
            break
        yield
    return _bounded(Plan(), iter(steps))


def plan_in_turns(service: Service, tasks: Iterable[Task], around: Around, choose: Choose) -> Turns[Plan]:
    """Steps are safe to repeat: what is done already gives no step.

    With turns for others: a plan is made anew for all tasks of the service, and these may be many.
    """
    places = yield from filled_in_turns(tasks)
    choice = yield from choose(service, places, around)
    given_up = [places.pop(place) for place in choice.to_give_up]
    gone = _remove(task for of_place in given_up for task in of_place)
    new = (Step(create_in=place) for place in choice.to_fill)
    found = _Upkeep(service, around)
    for part in stretches(places.items()):
        for place, of_place in part:
            found.look_at(place, of_place)
        yield
    move = yield from next_move_in_turns(service, places, found.dirty, around, moving=found.moving)
    due = found.due if move.due is None else [*found.due, move.due]
    made = Plan(
        due=min(due) if due else None,
        update_status=move.status,
        roll_back_to=service.previous_spec if move.roll_back else None,
    )
    return _bounded(made, chain(gone, new, found.steps, move.steps))


def _bounded(plan: Plan, steps: Iterator[Step]) -> Plan:
    """With as many of the steps as one plan may have, and whether there are more."""
    taken = tuple(islice(steps, MAX_STEPS))
    return replace(plan, steps=taken, has_more=next(steps, None) is not None)


def _remove(tasks: Iterable[Task]) -> Iterator[Step]:
    return (Step(remove=(task.id,)) for task in tasks if task.desired_state < TaskState.REMOVE)


class _Upkeep:
    """What the places that stay need, one after the other; what is not what the spec wants is left to the update."""

    def __init__(self, service: Service, around: Around) -> None:
        self.steps: list[Step] = []
        self.due: list[datetime] = []  # when time alone changes something
        self.dirty: list[Place] = []  # for the update
        self.moving = False  # one that the update would renew is renewed anyway
        self._service, self._around = service, around
        self._settles = settle_time(service)

    def look_at(self, place: Place, of_place: Sequence[Task]) -> None:
        last = (live(of_place) or of_place)[-1]  # one that has ended for good is renewed too
        current = self._is_current(last)
        # The newest ends those beside it, unless a rollback may want one of these again.
        ends_others = current or not any(map(self._is_current, live(of_place)[:-1]))
        if self._renew(place, of_place, ends_others):
            self.moving = self.moving or not current
        elif not current and not has_given_up(of_place, self._service.spec_version):
            self.dirty.append(place)  # given up: trying for ever is not what the policy asks for

    def _is_current(self, task: Task) -> bool:
        return is_current(task, self._service, self._around.node_of(task))

    def _renew(self, place: Place, of_place: Sequence[Task], ends_others: bool) -> bool:
        """Replace what has ended or must leave its node, start what has waited long enough. True if it was replaced."""
        running = live(of_place)
        if not running:
            return False
        newest = running[-1]
        over = [task for task in running if self._around.is_over(task)]
        if newest in over:
            return self._succeed(place, of_place, newest, over)
        if ends_others and len(running) > 1 and self._has_settled(newest):
            over = running[:-1]
        if over:
            self.steps.append(Step(stop=tuple(task.id for task in over)))
        if newest.desired_state < TaskState.RUNNING and self._has_come(self._start_of(newest, of_place)):
            self.steps.append(Step(start=(newest.id,)))
        return False

    def _succeed(self, place: Place, of_place: Sequence[Task], newest: Task, over: Sequence[Task]) -> bool:
        """The newest is over, and with it these: whether they are replaced now."""
        again = should_restart(newest, of_place)
        waits = again and newest.desired_state < TaskState.RUNNING and not self._around.must_leave(newest)
        if waits and not self._has_come(self._start_of(newest, of_place)):
            # It failed while it was prepared, before its time: so would its successors, one after the other.
            if others := tuple(task.id for task in over if task is not newest):
                self.steps.append(Step(stop=others))
            return False
        self.steps.append(
            Step(
                stop=tuple(task.id for task in over),
                create_in=place if again else None,
                create_as=successor_state(newest, self._around.node_of(newest)),
            )
        )
        return True

    def _has_settled(self, newest: Task) -> bool:
        """It has been up long enough to end those beside it: what crashes at once must not cost a healthy one."""
        if newest.status.state is not TaskState.RUNNING:
            return False
        return self._has_come(up_since(newest, self._around.now) + self._settles)

    def _start_of(self, task: Task, of_place: Sequence[Task]) -> datetime:
        return start_time(task, of_place[: of_place.index(task)], self._around.nodes)

    def _has_come(self, moment: datetime) -> bool:
        """Else it is noted."""
        if moment > self._around.now:
            self.due.append(moment)
        return moment <= self._around.now
