"""The loop as a whole: services are kept at their number whatever happens to tasks and nodes."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from msgspec.structs import replace

from manager.store.snapshot import decode_entry
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import Placement, RestartCondition, RestartPolicy
from swarmcore.model.resources import ResourceRequirements, Resources
from swarmcore.model.task import TaskState
from tests.manager.orchestrator.objects import SECOND, node, service, template
from tests.manager.orchestrator.world import World, in_world, off_n1, started

S = TaskState


def test_a_new_service_gets_a_task_for_each_replica() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            assert [task.slot for task in world.tasks()] == [1, 2, 3]
            assert Counter(task.node_id for task in world.running()) == {"n1": 1, "n2": 1, "n3": 1}
            assert await world.is_quiet()

    in_world(story)


def test_all_tasks_of_a_service_are_created_in_one_commit_and_wait_while_no_node_takes_them() -> None:
    async def story(world: World) -> None:
        async with world.led():
            await world.rest()
            before = len(world.raft.log)
            await world.put(service(50))
            await world.rest()
            (_, entry) = world.raft.log[before:]
            assert len(decode_entry(entry).writes) == 50
            assert {(t.status.state, t.desired_state, t.node_id) for t in world.tasks()} == {
                (S.NEW, S.RUNNING, "")
            }
            assert await world.is_quiet()

    in_world(story)


def test_a_service_scales_up_and_down_and_the_given_up_tasks_leave_nothing() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            await world.scale(50)
            await world.until(lambda: len(world.running()) == 50)
            assert sorted(task.slot for task in world.running()) == list(range(1, 51))
            await world.scale(3)
            await world.until(lambda: len(world.tasks()) == 3)
            assert Counter(task.node_id for task in world.running()) == {"n1": 1, "n2": 1, "n3": 1}
            assert await world.is_quiet()
            await world.scale(0)
            await world.until(lambda: not world.tasks())

    in_world(story)


def test_the_lowest_free_slots_are_filled_first() -> None:
    async def story(world: World) -> None:
        await started(world, 6)
        async with world.led():
            await world.until(lambda: len(world.running()) == 6)
            world.placing = False
            await world.scale(3)
            await world.until(lambda: len(world.tasks()) == 3)
            kept = {task.slot for task in world.tasks()}
            await world.scale(5)
            await world.rest()
            new = {task.slot for task in world.tasks()} - kept
            assert new == set(sorted(set(range(1, 7)) - kept)[:2])

    in_world(story)


def test_a_failed_task_is_replaced_in_its_slot_after_the_delay() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            victim = world.the_task(2)
            await world.ended(victim)
            await world.rest(0.01)
            old, new = world.tasks(slot=2)
            assert (old.desired_state, new.desired_state) == (S.SHUTDOWN, S.READY)
            took = await world.until(lambda: len(world.running()) == 3)
            assert 5.0 <= took + 0.01 <= 5.3
            assert world.the_task(2).id == new.id
            assert await world.is_quiet()

    in_world(story)


def test_tasks_of_a_node_that_goes_down_run_elsewhere_at_once() -> None:
    async def story(world: World) -> None:
        await started(world, 6)
        async with world.led():
            await world.until(lambda: len(world.running()) == 6)
            before = len(world.raft.log)
            await world.node_is("n1", NodeState.DOWN)
            assert await world.until(lambda: len(off_n1(world)) == 6) < 0.3
            stopped = [task for task in world.tasks() if task.node_id == "n1"]
            assert {task.desired_state for task in stopped} == {S.SHUTDOWN}
            assert len(decode_entry(world.raft.log[before + 1]).writes) == 4  # both slots in one commit
            await world.node_is("n1", NodeState.READY)
            assert await world.is_quiet(1.0) is False  # its agent stops the old ones
            assert await world.is_quiet()

    in_world(story)


def test_a_removed_node_counts_as_down() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            async with world.store.update() as tx:
                tx.nodes.delete("n2")
            assert (
                await world.until(lambda: len([t for t in world.running() if t.node_id != "n2"]) == 3) < 0.3
            )

    in_world(story)


def test_a_drained_nodes_tasks_start_elsewhere_as_soon_as_they_have_stopped() -> None:
    async def story(world: World) -> None:
        world.stop_time = 3.0
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            await world.availability("n1", Availability.DRAIN)
            await world.rest(2.9)
            assert len(world.running()) == 2
            assert await world.until(lambda: len(world.running()) == 3) < 0.5
            assert {task.node_id for task in world.running()} == {"n2", "n3"}
            await world.availability("n1", Availability.ACTIVE)
            assert await world.is_quiet()  # nothing moves back

    in_world(story)


def test_a_task_that_does_not_stop_holds_its_successor_back_for_a_minute_only() -> None:
    async def story(world: World) -> None:
        world.stop_time = 10_000.0
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            await world.availability("n1", Availability.DRAIN)
            assert 59 < await world.until(lambda: len(off_n1(world)) == 3) < 61

    in_world(story)


def test_a_node_that_is_paused_or_silent_keeps_its_tasks() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            before = world.running()
            await world.availability("n1", Availability.PAUSE)
            await world.node_is("n2", NodeState.UNKNOWN)
            await world.node_is("n3", NodeState.DISCONNECTED)
            await world.rest(60)
            assert world.running() == before

    in_world(story)


def test_a_task_moves_when_its_node_meets_the_constraints_no_more() -> None:
    async def story(world: World) -> None:
        await world.put(node("n1", labels={"disk": "ssd"}))
        spec = replace(template(), placement=Placement(constraints=("node.labels.disk==ssd",)))
        await world.put(service(1, spec))
        async with world.led():
            await world.until(lambda: len(world.running()) == 1)
            await world.nodes("n2")
            world.placing = False
            await world.put(node("n1", labels={"disk": "hdd"}))
            await world.until(lambda: not world.running())
            (waiting,) = [task for task in world.tasks() if task.desired_state <= S.RUNNING]
            assert waiting.status.state is S.NEW
            await world.rest()
            assert await world.is_quiet()

    in_world(story)


def test_a_node_that_shrinks_gives_up_the_youngest_tasks_it_cannot_hold() -> None:
    async def story(world: World) -> None:
        await world.put(node("n1", cpus=4))
        reserved = ResourceRequirements(reservations=Resources(nano_cpus=10**9))
        await world.put(service(3, replace(template(), resources=reserved)))
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            world.placing = False
            await world.put(node("n1", cpus=2))
            await world.until(lambda: len(world.running()) == 2)
            await world.rest()
            assert [task.slot for task in world.running()] == [1, 2]
            await world.nodes("n2")
            world.placing = True
            await world.put(node("n1", cpus=2, availability=Availability.PAUSE))
            await world.until(lambda: len(world.running()) == 3)
            assert await world.is_quiet()

    in_world(story)


def test_a_removed_service_leaves_no_task_once_all_have_stopped() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            await world.ended(world.the_task(1))
            await world.node_is("n3", NodeState.DOWN)
            await world.rest(6)
            await world.remove_service()
            await world.until(lambda: not world.tasks())
            assert await world.is_quiet()

    in_world(story)


@pytest.mark.parametrize(
    ("condition", "end", "again"),
    [
        (RestartCondition.NONE, S.FAILED, False),
        (RestartCondition.ON_FAILURE, S.COMPLETE, False),
        (RestartCondition.ON_FAILURE, S.FAILED, True),
        (RestartCondition.ANY, S.COMPLETE, True),
        (RestartCondition.ANY, S.REJECTED, True),
    ],
)
def test_an_ended_task_has_a_successor_if_its_policy_says_so(
    condition: RestartCondition, end: TaskState, again: bool
) -> None:
    async def story(world: World) -> None:
        await started(world, 2, RestartPolicy(condition=condition))
        async with world.led():
            await world.until(lambda: len(world.running()) == 2)
            await world.ended(world.the_task(1), end)
            await world.rest(10)
            assert {task.slot for task in world.running()} == ({1, 2} if again else {2})
            assert await world.is_quiet()

    in_world(story)


def test_moves_use_no_attempts_up_and_failures_do() -> None:
    async def story(world: World) -> None:
        def runs_elsewhere(here: str) -> bool:
            return any(t.node_id != here for t in world.running())

        await started(world, 1, RestartPolicy(max_attempts=1, delay=SECOND))
        async with world.led():
            for number in range(8):
                await world.until(lambda: len(world.running()) == 1)
                here = world.the_task(1).node_id
                if number % 2:
                    await world.node_is(here, NodeState.DOWN)
                else:
                    await world.availability(here, Availability.DRAIN)
                await world.until(partial(runs_elsewhere, here))
                await world.node_is(here, NodeState.READY)
                await world.availability(here, Availability.ACTIVE)
            await world.ended(world.the_task(1))
            await world.until(lambda: len(world.running()) == 1)
            here = world.the_task(1).node_id
            await world.availability(here, Availability.DRAIN)
            await world.until(partial(runs_elsewhere, here))
            await world.ended(world.the_task(1))
            await world.rest(30)
            assert world.running() == []
            assert await world.is_quiet()

    in_world(story)


def test_a_window_that_is_shorter_than_the_delay_ends_the_attempts_too() -> None:
    async def story(world: World) -> None:
        world.fails = lambda task: True
        await started(world, 1, RestartPolicy(max_attempts=3, delay=5 * SECOND, window=SECOND))
        async with world.led():
            await world.rest(90)
            assert [task.status.state for task in world.tasks()] == [S.FAILED] * 4
            assert await world.is_quiet()

    in_world(story)


def test_a_task_is_restarted_as_often_as_its_policy_allows() -> None:
    async def story(world: World) -> None:
        world.fails = lambda task: True
        await started(world, 1, RestartPolicy(max_attempts=3, delay=SECOND))
        async with world.led():
            await world.rest(60)
            assert [task.status.state for task in world.tasks()] == [S.FAILED] * 4
            assert await world.is_quiet()
            await world.scale(0)
            await world.until(lambda: not world.tasks())
            world.fails = lambda task: False
            await world.scale(1)
            await world.until(lambda: len(world.running()) == 1)

    in_world(story)


@pytest.mark.parametrize(("limit", "kept"), [(5, 5), (2, 2), (1, 1), (0, 1), (-1, 9)])
def test_a_slot_keeps_as_many_tasks_as_the_swarm_says_and_the_delay_whatever_it_keeps(
    limit: int, kept: int
) -> None:
    async def story(world: World) -> None:
        await world.history(limit)
        await started(world, 1)
        async with world.led():
            await world.until(lambda: len(world.running()) == 1)
            began = world.clock.monotonic()
            for _ in range(8):
                await world.ended(world.the_task(1))
                await world.rest(0.01)
                await world.until(lambda: len(world.running()) == 1)
            assert world.clock.monotonic() - began > 40
            await world.rest()
            assert len(world.tasks()) == kept
            assert world.tasks()[-1].status.state is S.RUNNING

    in_world(story)


def test_a_smaller_history_limit_takes_effect_at_once() -> None:
    async def story(world: World) -> None:
        await started(world, 1, RestartPolicy(delay=0))
        async with world.led():
            for _ in range(4):
                await world.until(lambda: len(world.running()) == 1)
                await world.ended(world.the_task(1))
                await world.rest()
            assert len(world.tasks()) == 5
            await world.history(2)
            await world.rest()
            assert len(world.tasks()) == 2

    in_world(story)
