"""Rolling updates as a whole: order, parallelism, delay; see `test_update_failures.py` for the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from swarmcore.aio import owned
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import FailureAction, Placement, RestartPolicy, UpdateConfig, UpdateOrder
from swarmcore.model.resources import ResourceRequirements, Resources
from swarmcore.model.service import UpdateState
from swarmcore.model.task import TaskState
from tests.manager.orchestrator.objects import SECOND, node, service
from tests.manager.orchestrator.updates import image, in_state, started
from tests.manager.orchestrator.world import World, in_world

S = TaskState
U = UpdateState


async def lowest(world: World, met: Callable[[], bool]) -> tuple[int, int]:
    """The least and the largest number of running containers until `met`."""
    seen = []
    while not met():
        seen.append(len([t for t in world.tasks() if t.status.state is S.RUNNING]))
        await world.rest(0.01)
    return min(seen), max(seen)


def test_by_default_one_slot_after_the_other_is_stopped_and_replaced() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            await world.until(in_state(world, U.UPDATING))
            assert world.update_status().message == "update in progress"
            assert await lowest(world, lambda: len(world.running("web:2")) == 4) == (3, 4)
            assert 4.9 <= await world.until(in_state(world, U.COMPLETED)) <= 5.1  # the monitor's time
            status = world.update_status()
            assert status.message == "update completed"
            assert status.started_at is not None
            assert status.completed_at is not None
            assert status.completed_at > status.started_at
            assert sorted(task.slot for task in world.running()) == [1, 2, 3, 4]
            assert await world.is_quiet()

    in_world(story)


@pytest.mark.parametrize(("parallelism", "least"), [(2, 2), (3, 1), (0, 0)])
def test_parallelism_says_how_many_slots_are_replaced_at_once(parallelism: int, least: int) -> None:
    async def story(world: World) -> None:
        await started(world, config=UpdateConfig(parallelism=parallelism))
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            assert await lowest(world, in_state(world, U.COMPLETED)) == (least, 4)
            assert len(world.running("web:2")) == 4

    in_world(story)


async def crash(world: World, name: str, after: float) -> None:
    """Tasks of this image end by themselves so many seconds after they have come up."""
    while True:
        for task in world.running(name):
            since = task.status.timestamp
            if since is not None and (world.clock.now() - since).total_seconds() >= after:
                await world.ended(task)
        await world.rest(0.05)


@pytest.mark.parametrize("action", list(FailureAction))
def test_start_first_keeps_the_old_tasks_while_the_new_ones_crash(action: FailureAction) -> None:
    async def story(world: World) -> None:
        config = UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST, failure_action=action)
        await started(world, 2, config, RestartPolicy(delay=SECOND))
        async with world.led(), owned(crash(world, "bad", 0.3), "crashes"):
            await world.until(lambda: len(world.running()) == 2)
            old = {task.id for task in world.running()}
            await world.change(image("bad"))
            for _ in range(300):
                await world.rest(0.1)
                assert old <= {task.id for task in world.running()}
            if action is FailureAction.ROLLBACK:
                assert in_state(world, U.ROLLBACK_COMPLETED)()
                assert old == {task.id for task in world.running()}
            await world.change(image("good"))
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running("good")) == len(world.running()) == 2

    in_world(story)


def test_start_first_ends_the_old_task_when_the_new_one_has_stayed_up() -> None:
    async def story(world: World) -> None:
        config = UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST, monitor=20 * SECOND)
        await started(world, 1, config)
        async with world.led():
            await world.until(lambda: len(world.running()) == 1)
            await world.change(image("web:2"))
            await world.until(lambda: len(world.running("web:2")) == 1)
            took = await world.until(lambda: len(world.running()) == 1)
            assert 4 <= took < 5

    in_world(story)


def test_start_first_never_has_less_than_all_replicas() -> None:
    async def story(world: World) -> None:
        await started(world, config=UpdateConfig(parallelism=1, order=UpdateOrder.START_FIRST))
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            assert await lowest(world, in_state(world, U.COMPLETED)) == (4, 5)
            assert len(world.running("web:2")) == 4
            assert len(world.running()) == 4
            assert await world.is_quiet()

    in_world(story)


def test_the_delay_passes_after_each_slot_and_the_update_ends_all_the_same() -> None:
    async def story(world: World) -> None:
        await started(world, 3, UpdateConfig(parallelism=1, delay=10 * SECOND))
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            await world.change(image("web:2"))
            for count, least in ((1, 0.0), (2, 10.0), (3, 10.0)):
                took = await world.until(lambda count=count: len(world.running("web:2")) == count)  # type: ignore[misc]
                assert least <= took < least + 1
            # Docker watches for the delay and a second where the delay is longer than the monitor's time.
            assert 10.9 <= await world.until(in_state(world, U.COMPLETED)) <= 11.1

    in_world(story)


def test_a_change_of_scale_or_labels_replaces_nothing() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            before = {task.id for task in world.running()}
            await world.change(lambda spec: replace(spec, labels={"a": "b"}))
            await world.scale(5)
            await world.until(lambda: len(world.running()) == 5)
            assert before < {task.id for task in world.running()}
            service_now = world.store.view().services.get("svc")
            assert service_now is not None
            assert service_now.update_status is None

    in_world(story)


def test_a_forced_update_replaces_every_task() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            before = {task.id for task in world.running()}
            await world.change(lambda s: replace(s, task_template=replace(s.task_template, force_update=1)))
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running()) == 4
            assert not before & {task.id for task in world.running()}

    in_world(story)


def test_constraints_that_all_nodes_meet_replace_nothing() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            before = {task.id for task in world.running()}
            for constraint in ("node.labels.x!=y", "node.id==n1"):
                placement = Placement(constraints=(constraint,))
                await world.change(
                    lambda s, p=placement: replace(s, task_template=replace(s.task_template, placement=p))  # type: ignore[misc]
                )
                await world.rest(0.01)
                if constraint == "node.labels.x!=y":
                    assert await world.is_quiet()
                    assert before == {task.id for task in world.running()}
            await world.until(in_state(world, U.COMPLETED))
            assert {task.node_id for task in world.running()} == {"n1"}
            stayed = before & {task.id for task in world.running()}
            assert len(stayed) == 2

    in_world(story)


def test_slots_that_cannot_be_placed_do_not_hold_up_the_update_of_the_others() -> None:
    async def story(world: World) -> None:
        await started(world, 3)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            world.placing = False
            await world.scale(6)
            await world.rest()
            waiting = {task.id for task in world.tasks() if not task.node_id}
            await world.change(image("web:2"))
            await world.rest(0.05)
            # The unplaced ones are outdated as well; they wait their turn while slot 1 has none.
            assert len(waiting) == 3
            world.placing = True
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running("web:2")) == 6

    in_world(story)


def test_scaling_up_beyond_what_fits_does_not_stop_an_update() -> None:
    async def story(world: World) -> None:
        await started(world, 3)
        async with world.led():
            await world.until(lambda: len(world.running()) == 3)
            mode = service(5).spec.mode
            world.placing = False
            await world.change(lambda spec: replace(image("web:2")(spec), mode=mode))
            await world.rest()
            # Slots 4 and 5 are new and wait; slot 1 is being replaced. The world's scheduler places but that one.
            async with world.store.update() as tx:
                for task in tx.tasks:
                    if task.slot > 3:
                        tx.tasks.put(
                            replace(task, status=replace(task.status, state=S.PENDING), node_id="gone")
                        )
            await world.put(node("gone", state=NodeState.UNKNOWN))
            world.placing = True
            await world.nodes("n1")
            await world.until(lambda: len(world.running("web:2")) == 3)
            await world.until(in_state(world, U.COMPLETED))

    in_world(story)


def test_an_update_during_an_update_wins() -> None:
    async def story(world: World) -> None:
        await started(world)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            await world.until(lambda: len(world.running("web:2")) == 2)
            await world.change(image("web:3"))
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running("web:3")) == 4
            assert await world.is_quiet()

    in_world(story)


def test_a_new_leader_goes_on_with_an_update() -> None:
    config = UpdateConfig(parallelism=1, delay=2 * SECOND)

    async def story(world: World) -> None:
        await started(world, config=config)
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            await world.until(lambda: len(world.running("web:2")) == 2)
            began = world.update_status().started_at
        await world.rest(1.5)
        assert len(world.running("web:2")) == 2
        async with world.led():
            assert await world.until(lambda: len(world.running("web:2")) == 3) < 1
            await world.until(in_state(world, U.COMPLETED))
            assert world.update_status().started_at == began
            assert len(world.tasks()) == 8
            assert await world.is_quiet()

    in_world(story)


@pytest.mark.parametrize("limit", [0, 1, 5])
def test_the_history_limit_changes_nothing_about_an_update(limit: int) -> None:
    async def story(world: World) -> None:
        await world.history(limit)
        await started(world, config=UpdateConfig(parallelism=1, delay=2 * SECOND))
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
            await world.change(image("web:2"))
            assert await lowest(world, lambda: len(world.running("web:2")) == 4) == (3, 4)
            assert 4.9 < await world.until(in_state(world, U.COMPLETED)) < 5.1
            await world.rest()
            assert len(world.tasks()) == (4 if limit < 2 else 8)

    in_world(story)


def test_an_update_goes_on_while_nodes_come_and_go() -> None:
    async def story(world: World) -> None:
        await started(world, 6, UpdateConfig(parallelism=2))
        await world.nodes("n3")
        async with world.led():
            await world.until(lambda: len(world.running()) == 6)
            await world.change(image("web:2"))
            await world.rest(0.15)
            await world.node_is("n3", NodeState.DOWN)
            await world.rest(0.15)
            await world.availability("n2", Availability.DRAIN)
            await world.until(in_state(world, U.COMPLETED))
            assert {task.node_id for task in world.running("web:2")} == {"n1"}
            assert len(world.running("web:2")) == 6

    in_world(story)


def test_a_task_with_resources_that_changes_keeps_its_slot() -> None:
    async def story(world: World) -> None:
        await started(world, 2)
        reserved = ResourceRequirements(reservations=Resources(nano_cpus=10**9))
        async with world.led():
            await world.until(lambda: len(world.running()) == 2)
            await world.change(
                lambda s: replace(s, task_template=replace(s.task_template, resources=reserved))
            )
            await world.until(in_state(world, U.COMPLETED))
            assert sorted(task.slot for task in world.running()) == [1, 2]

    in_world(story)


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_a_leader_whose_clock_is_behind_takes_no_old_task_for_a_new_one(order: UpdateOrder) -> None:
    async def story(world: World) -> None:
        await started(world, config=UpdateConfig(parallelism=1, order=order))
        world.clock.ahead = 30.0
        async with world.led():
            await world.until(lambda: len(world.running()) == 4)
        world.clock.ahead = 0.0
        async with world.led():
            await world.change(image("web:2"))
            await world.until(in_state(world, U.COMPLETED))
            assert len(world.running("web:2")) == 4
            assert len(world.tasks()) == 8

    in_world(story)
