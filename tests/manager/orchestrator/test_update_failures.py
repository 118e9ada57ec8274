"""Updates that fail: they pause, roll back or go on, as they were told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from swarmcore.aio import owned
from swarmcore.model.policy import FailureAction, RestartPolicy, UpdateConfig, UpdateOrder
from swarmcore.model.service import UpdateState
from swarmcore.model.task import TaskState, TaskStatus
from tests.manager.orchestrator.objects import SECOND
from tests.manager.orchestrator.updates import image, in_state, started
from tests.manager.orchestrator.world import World, in_world

S = TaskState
U = UpdateState


def test_a_failing_update_pauses_and_the_others_stay_as_they_were() -> None:
    async def story(world: World) -> None:
        await started(world)
        world.fails = lambda task: task.spec.container.image == "bad"
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("bad"))
            await world.until(in_state(world, U.PAUSED))
            failed = next(task for task in world.tasks() if task.status.state is S.FAILED)
            cause = f"update paused due to failure or early termination of task {failed.id}"
            assert world.update_status().message == cause
            await world.rest(60)
            assert len(world.running("web:1")) == 3
            await world.change(image("web:3"))
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running("web:3")) == 4

    in_world(story)


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_a_failing_update_is_rolled_back_where_that_is_asked_for(order: UpdateOrder) -> None:
    config = UpdateConfig(parallelism=2, failure_action=FailureAction.ROLLBACK, order=order)

    async def story(world: World) -> None:
        await started(world, config=config)
        world.fails = lambda task: task.spec.container.image == "bad"
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            before = {task.id for task in world.running()}
            await world.change(image("bad"))
            await world.until(in_state(world, U.ROLLBACK_STARTED))
            assert world.update_status().message.startswith("update rolled back due to failure or early")
            await world.until(in_state(world, U.ROLLBACK_COMPLETED))
            assert world.update_status().message == "rollback completed"
            assert len(world.running("web:1")) == 4
            stayed = before & {task.id for task in world.running()}
            assert len(stayed) == (4 if order is UpdateOrder.START_FIRST else 2)
            now = world.store.view().services.get("svc")
            assert now is not None
            assert now.previous_spec is None
            assert await world.is_quiet()

    in_world(story)


def test_a_failing_rollback_pauses() -> None:
    config = UpdateConfig(parallelism=1, failure_action=FailureAction.ROLLBACK)

    async def story(world: World) -> None:
        await started(world, config=config)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            world.fails = lambda task: True
            await world.change(image("bad"))
            await world.until(in_state(world, U.ROLLBACK_PAUSED))
            assert world.update_status().message.startswith("rollback paused due to failure or early")
            await world.rest(60)
            assert in_state(world, U.ROLLBACK_PAUSED)()

    in_world(story)


def test_an_update_that_may_fail_goes_on_to_the_end() -> None:
    async def story(world: World) -> None:
        await started(world, config=UpdateConfig(parallelism=1, failure_action=FailureAction.CONTINUE))
        world.fails = lambda task: task.spec.container.image == "bad"
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("bad"))
            assert await world.until(in_state(world, U.COMPLETED)) < 10
            assert not world.running()
            world.fails = lambda task: False
            await world.until(lambda: len(world.running("bad")) == 4)

    in_world(story)


@pytest.mark.parametrize(("ratio", "end"), [(0.5, U.COMPLETED), (0.2, U.PAUSED)])
def test_as_many_slots_may_fail_as_the_ratio_says_however_often_each_does(
    ratio: float, end: UpdateState
) -> None:
    config = UpdateConfig(parallelism=1, max_failure_ratio=ratio)

    async def story(world: World) -> None:
        await started(world, config=config, policy=RestartPolicy(delay=SECOND // 10))
        world.fails = lambda task: task.spec.container.image == "bad" and task.slot in (1, 3)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("bad"))
            await world.until(in_state(world, end))
            assert len(world.running("bad")) == (2 if end is U.COMPLETED else 0)

    in_world(story)


@pytest.mark.parametrize(("after", "end"), [(3, U.PAUSED), (7, U.UPDATING)])
def test_a_task_that_ends_within_the_monitors_time_fails_the_update_and_a_later_end_does_not(
    after: float, end: UpdateState
) -> None:
    config = UpdateConfig(parallelism=1, delay=60 * SECOND, monitor=5 * SECOND)

    async def story(world: World) -> None:
        world.boot_time = 30.0
        await started(world, 2, config)
        async with world.led():
            await world.until(lambda: len(world.running()) == 2)
            await world.change(image("web:2"))
            await world.until(lambda: world.running("web:2"))
            await world.rest(after)
            await world.ended(world.running("web:2")[0], S.COMPLETE)
            await world.rest()
            assert world.update_status().state is end

    in_world(story)


def test_a_rollback_by_hand_brings_the_old_tasks_back_and_can_itself_be_undone() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            await world.until(in_state(world, U.COMPLETED))
            for wanted in ("web:1", "web:2"):
                await world.change(lambda spec: spec, rollback=True)
                await world.until(in_state(world, U.ROLLBACK_COMPLETED))
                assert len(world.running(wanted)) == 4

    in_world(story)


def test_a_spec_that_the_user_sends_while_a_rollback_is_decided_wins() -> None:
    config = UpdateConfig(parallelism=1, failure_action=FailureAction.ROLLBACK)

    async def story(world: World) -> None:
        await started(world, config=config)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            await world.until(lambda: world.running("web:2"))
            victim = world.running("web:2")[0]
            held = world.store.update()
            tx = await held.__aenter__()
            async with owned(world.change(image("web:3")), "request") as request:
                await world.rest(
                    0
                )  # the user's request is the next in line, whatever the loop makes of this commit
                tx.tasks.put(replace(victim, status=TaskStatus(state=S.FAILED, timestamp=tx.now())))
                await held.__aexit__(None, None, None)
                await request
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running("web:3")) == 4

    in_world(story)
