"""The store against a plain dict, under any mix of transactions, aborts, lost answers and restores."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from manager.store.store import Store
from manager.store.tables import View
from swarmcore.errors import OutcomeUnknown
from tests.fakes.raft import SoloRaft, StepClock
from tests.manager.store.objects import task

IDS = st.sampled_from([f"t{number}" for number in range(8)])
Where = tuple[str, int, str]
WHERE = st.tuples(st.sampled_from(["s1", "s2", ""]), st.integers(0, 2), st.sampled_from(["n1", "n2", ""]))
STEPS = st.lists(st.tuples(IDS, st.none() | WHERE), min_size=1, max_size=6)


class Abort(Exception):
    pass


class StoreAgainstDict(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store(StepClock())
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.expected: dict[str, Where] = {}
        self.views: list[tuple[View, dict[str, Where]]] = []

    @rule(steps=STEPS, fate=st.sampled_from(["commit", "abort", "lost", "unheard"]))
    def transaction(self, steps: list[tuple[str, Where | None]], fate: str) -> None:
        after = dict(self.expected)

        async def run() -> None:
            if fate in ("lost", "unheard"):
                self.raft.lose_next_answer(committed=fate == "unheard")
            async with self.store.update() as tx:
                for id, place in steps:
                    if place is None:
                        if id in tx.tasks:
                            tx.delete(id)
                        after.pop(id, None)
                        continue
                    old = tx.tasks.get(id)
                    new = task(id, *place)
                    tx.put(new if old is None else replace(new, version=old.version))
                    after[id] = place
                assert {t.id: where_of(t) for t in tx.tasks} == after
                check_indexes(tx.tasks, after)
                if fate == "abort":
                    raise Abort

        try:
            asyncio.run(run())
        except (Abort, OutcomeUnknown):
            pass
        self.raft._unknown.clear()
        if fate in ("commit", "unheard"):
            self.expected = after

    @rule()
    def look(self) -> None:
        self.views.append((self.store.view(), dict(self.expected)))

    @rule()
    def restore(self) -> None:
        self.store.restore(self.store.snapshot()(), self.raft.index)

    @invariant()
    def every_view_is_as_it_was_taken(self) -> None:
        for view, expected in [*self.views, (self.store.view(), self.expected)]:
            assert {t.id: where_of(t) for t in view.tasks} == expected
            check_indexes(view.tasks, expected)


def where_of(found: Any) -> Where:
    return found.service_id, found.slot, found.node_id


def place_of_service(where: Where) -> tuple[str, int | str]:
    service_id, slot, node_id = where
    return service_id, slot or node_id


def check_indexes(tasks: Any, expected: dict[str, Where]) -> None:
    for service_id in ("s1", "s2"):
        ids = {t.id for t in tasks.find("service_id", service_id)}
        assert ids == {id for id, place in expected.items() if place[0] == service_id}
        for key in (1, 2, "n1", "n2", ""):
            ids = {t.id for t in tasks.find("place", (service_id, key))}
            assert ids == {
                id for id, place in expected.items() if place_of_service(place) == (service_id, key)
            }
    for node_id in ("n1", "n2"):
        ids = {t.id for t in tasks.find("node_id", node_id)}
        assert ids == {id for id, place in expected.items() if place[2] == node_id}
    assert len(tasks) == len(expected)


TestStoreAgainstDict = StoreAgainstDict.TestCase
TestStoreAgainstDict.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
