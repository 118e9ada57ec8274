"""The loop under a new leader, and when an answer is lost."""

from __future__ import annotations

import pytest

from swarmcore.errors import OutcomeUnknown
from swarmcore.model.node import NodeState
from swarmcore.model.task import TaskState
from tests.manager.orchestrator.world import World, in_world, off_n1, started

S = TaskState


def test_a_new_leader_resumes_a_delayed_start_where_it_was() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            await world.ended(world.the_task(2))
            await world.rest(2)
        await world.rest(1)
        async with world.led():
            assert 1.9 <= await world.until(lambda: len(world.running()) == 3) <= 2.3
            assert len(world.tasks()) == 4
            assert await world.is_quiet()

    in_world(story)


def test_a_new_leader_does_at_once_what_became_due_between_the_terms() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
        await world.ended(world.the_task(2))
        await world.node_is("n1", NodeState.DOWN)
        await world.scale(4)
        async with world.led():
            assert await world.until(lambda: len(off_n1(world)) == 3) < 0.3
            await world.until(lambda: len(off_n1(world)) == 4)
            await world.remove_service()
            await world.rest(0)
        async with world.led():
            await world.until(lambda: not world.tasks())

    in_world(story)


@pytest.mark.parametrize("committed", [True, False])
def test_a_lost_answer_neither_loses_nor_doubles_tasks(committed: bool) -> None:
    async def story(world: World) -> None:
        await started(world)
        world.raft.lose_next_answer(committed=committed)
        with pytest.raises(OutcomeUnknown):
            async with world.led():
                await world.rest()
        async with world.led():  # as the manager runs the loops again
            await world.until(lambda: len(world.running()) == 3)
            assert len(world.tasks()) == 3
            assert await world.is_quiet()

    in_world(story)
