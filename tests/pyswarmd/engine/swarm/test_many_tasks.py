"""Lists of very many tasks are made with turns for others, and are what short ones are."""

from __future__ import annotations

import msgspec
import pytest

from manager.control.filters import tasks_in_turns
from manager.store.store import Store
from manager.store.tables import TASKS, Table
from pyswarmd.engine.shown import objects
from pyswarmd.engine.swarm.tasks import _shown_in_turns
from swarmcore.aio import STRETCH, at_once
from swarmcore.clock import RealClock
from tests.manager.orchestrator.objects import task


@pytest.mark.parametrize("number", [0, 1, STRETCH, 3 * STRETCH + 1])
def test_a_list_is_complete_and_in_order(number: int) -> None:
    networks = Store(RealClock()).view().networks
    tasks = [task(f"t{slot:05}", slot) for slot in range(number)]
    shown = msgspec.json.decode(at_once(_shown_in_turns(tasks, networks)))
    assert shown == msgspec.json.decode(msgspec.json.encode([objects.task(one, networks) for one in tasks]))
    assert sum(1 for _ in _shown_in_turns(tasks, networks)) == number // STRETCH


def test_choosing_among_very_many_leaves_turns_though_few_are_chosen() -> None:
    view = Store(RealClock()).view()
    many = Table(TASKS, [task(f"t{slot:05}", slot) for slot in range(5 * STRETCH)])
    view = view.__class__(**{**view.__dict__, "tasks": many.freeze()})
    assert sum(1 for _ in tasks_in_turns(view, {"id": ("t00007",)})) == 5
    assert [one.id for one in at_once(tasks_in_turns(view, {"id": ("t00007",)}))] == ["t00007"]
