"""The places of a service with the tasks of each, and what a mode has to say of them: which to fill, which to give up.

A service may have a hundred thousand tasks: what looks at all of them is done in turns (`swarmcore.aio`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct

from manager.orchestrator.restart_policy import age, should_restart
from manager.orchestrator.steps import Around
from swarmcore.aio import Turns, stretches
from swarmcore.model.place import Place, in_order, place_of
from swarmcore.model.service import Service
from swarmcore.model.task import Task, TaskState

#: All stored tasks of each place, oldest first; the places in their order.
Places = dict[Place, list[Task]]


class Choice(Struct, frozen=True):
    """What a mode wants changed of a service's filled places. Each gets, and has, one task that shall run."""

    to_fill: Iterable[Place] = ()  # in this order; may be endless, a plan takes as many as it has steps for
    to_give_up: Sequence[Place] = ()


#: A mode: the one question to which services of different modes have different answers. It gets the filled places.
Choose = Callable[[Service, Places, Around], Turns[Choice]]


def by_place_in_turns(tasks: Iterable[Task]) -> Turns[Places]:
    """Without those to be removed: a place given up and taken up again begins anew."""
    found: Places = {}
    for part in stretches(tasks):
        for task in part:
            if task.desired_state < TaskState.REMOVE:
                found.setdefault(place_of(task), []).append(task)
        yield
    places: Places = {}
    for some in stretches(in_order(found)):
        places |= {place: sorted(found[place], key=age) for place in some}
        yield
    return places


def filled_in_turns(tasks: Iterable[Task]) -> Turns[Places]:
    """Those of the places that count: the others are as good as empty."""
    places = yield from by_place_in_turns(tasks)
    filled: Places = {}
    for part in stretches(places.items()):
        filled |= {place: of_place for place, of_place in part if is_filled(of_place)}
        yield
    return filled


def live(of_place: Sequence[Task]) -> list[Task]:
    """The tasks that shall run, or shall once they may start."""
    return [task for task in of_place if task.desired_state <= TaskState.RUNNING]


def is_filled(of_place: Sequence[Task]) -> bool:
    """It has a live task, or its last one has ended for good: that is what the restart policy asked for."""
    last = of_place[-1]
    finished = last.desired_state == TaskState.SHUTDOWN and not should_restart(last, of_place)
    return finished or bool(live(of_place))
