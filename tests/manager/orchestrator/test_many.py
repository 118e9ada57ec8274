"""Services of very many tasks: plans are bounded, others have their turns, and what is too large can be undone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest
from msgspec.structs import replace

from manager.orchestrator.orchestrator import LARGE, Orchestrator
from manager.orchestrator.reaper import TaskReaper
from manager.orchestrator.replicated_slots import choose_slots
from manager.orchestrator.service_plan import plan_in_turns
from manager.orchestrator.steps import MAX_STEPS, Around, Step
from manager.store.store import Store
from manager.store.tx import MAX_CHANGES
from swarmcore.aio import STRETCH, Tasks
from swarmcore.model.base import Version
from swarmcore.model.cluster import DEFAULT_SWARM_SPEC, MAX_REPLICAS_LABEL, Cluster
from swarmcore.model.policy import UpdateConfig
from swarmcore.model.task import Task
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.orchestrator.objects import at, node, plan, plan_removed, service, task, template

HUGE = 99_999_999_999
AROUND = Around(now=at(20), nodes={"n1": node()})


def tasks(number: int) -> list[Task]:
    return [task(f"t{slot:06}", slot) for slot in range(1, number + 1)]


def looks(work: Iterator[None]) -> int:
    """How often others have a turn."""
    return sum(1 for _ in work)


# -- plans --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("replicas", [HUGE, 10**9, MAX_STEPS + 1])
def test_a_plan_makes_so_many_tasks_and_no_more_and_says_that_there_are_more(replicas: int) -> None:
    made = plan(service(replicas), [], replace(AROUND, max_replicas=HUGE))
    assert made.steps == tuple(Step(create_in=number) for number in range(1, MAX_STEPS + 1))
    assert made.has_more


def test_a_plan_that_has_room_for_all_says_so() -> None:
    made = plan(service(MAX_STEPS), [], AROUND)
    assert len(made.steps) == MAX_STEPS and not made.has_more


def test_a_service_never_gets_more_tasks_than_the_limit() -> None:
    made = plan(service(HUGE), tasks(3), replace(AROUND, max_replicas=5))
    assert made.steps == (Step(create_in=4), Step(create_in=5))


def test_a_limit_that_was_lowered_ends_nothing() -> None:
    assert plan(service(9), tasks(9), replace(AROUND, max_replicas=5)).steps == ()


def test_what_is_given_up_is_bounded_too() -> None:
    many = tasks(MAX_STEPS + 5)
    for made in (plan(service(0), many, AROUND), plan_removed(many)):
        assert len(made.steps) == MAX_STEPS and made.has_more


def test_an_update_of_all_at_once_is_bounded_too() -> None:
    made = plan(
        service(MAX_STEPS + 5, template("web:2"), version=2, update=UpdateConfig(parallelism=0)),
        tasks(MAX_STEPS + 5),
        AROUND,
    )
    assert len(made.steps) == MAX_STEPS


@pytest.mark.parametrize("replicas", [5_000, 0], ids=["as it is", "all given up"])
@pytest.mark.parametrize("version", [1, 2])
def test_others_have_turns_while_a_large_service_is_planned(replicas: int, version: int) -> None:
    wanted = service(replicas, template(f"web:{version}"), version=version)
    assert looks(plan_in_turns(wanted, tasks(5_000), AROUND, choose_slots)) >= 2 * 5_000 // STRETCH


# -- the loop -----------------------------------------------------------------------------------------
class Swarm:
    """A store with one node, an orchestrator and a reaper."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.loops = Tasks()
        self.turns = 0

    async def begin(self, replicas: int, limit: int) -> None:
        labels = {MAX_REPLICAS_LABEL: str(limit)}
        async with self.store.update() as tx:
            tx.put(Cluster(id="cluster", spec=replace(DEFAULT_SWARM_SPEC, labels=labels)))
            tx.put(node("n1"))
            tx.put(replace(service(replicas), version=Version()))

    async def limit(self, number: int) -> None:
        async with self.store.update() as tx:
            (cluster,) = tx.clusters
            tx.put(replace(cluster, spec=replace(cluster.spec, labels={MAX_REPLICAS_LABEL: str(number)})))

    def lead(self) -> None:
        ids = (f"t{number:06}" for number in count(1))
        self.loops.start(Orchestrator(self.store, self.clock, lambda: next(ids)).run(), "one")
        self.loops.start(TaskReaper(self.store, self.clock).run(), "two")

    async def beat(self) -> None:
        """Somebody who always wants a turn. No time passes meanwhile: virtual time waits for idle moments."""
        while self.count() < 2 * LARGE:
            self.turns += 1
            await asyncio.sleep(0)

    def count(self) -> int:
        return len(self.store.view().tasks)

    async def settle(self, number: int) -> None:
        while self.count() != number:
            await self.clock.sleep(0.01)


def test_a_swarm_that_holds_a_monstrous_service_lives_and_lets_it_be_removed() -> None:
    """The spec may have been written before there was a limit: it is put into the store past the door."""

    async def story() -> None:
        swarm = Swarm()
        await swarm.begin(HUGE, limit=2 * LARGE)
        try:
            swarm.lead()
            await swarm.beat()
            await swarm.settle(2 * LARGE)
            await swarm.limit(2 * LARGE + 5)
            await swarm.settle(2 * LARGE + 5)
            assert swarm.turns >= 2 * LARGE // MAX_CHANGES
            async with swarm.store.update() as tx:
                tx.services.delete("svc")
            await swarm.settle(0)
        finally:
            await swarm.loops.close()

    run_virtual(story())
