"""Whatever happens in whatever order, with whatever policies: the loops lead to what was asked for, and then rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.orchestrator.places import live
from manager.orchestrator.restart_policy import should_restart
from manager.rules.current import is_current
from swarmcore.model.node import Availability, NodeState
from swarmcore.model.policy import FailureAction, RestartCondition, RestartPolicy, UpdateConfig, UpdateOrder
from swarmcore.model.task import Task, TaskState
from tests.manager.orchestrator.objects import SECOND, by_place, node, service, template
from tests.manager.orchestrator.world import World, in_world

S = TaskState
NODES = ("n1", "n2", "n3")
ENOUGH = 400.0  # virtual seconds in which everything must have come to rest
MANY = 6000  # commits: far more than tasks cause that are restarted without delay until they are mended

Event = tuple[str, int, float]  # what, which of them, and how long before the next one
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ("fails", "completes", "down", "up", "drain", "active", "scale", "update", "leader", "broken")
        ),
        st.integers(0, 11),
        st.sampled_from((0.0, 0.01, 0.15, 1.0, 7.0)),
    ),
    max_size=14,
)
CONFIGS = st.builds(
    UpdateConfig,
    parallelism=st.integers(0, 2),
    delay=st.sampled_from((0, SECOND)),
    order=st.sampled_from(UpdateOrder),
    failure_action=st.sampled_from(FailureAction),
    max_failure_ratio=st.sampled_from((0.0, 0.5)),
)
POLICIES = st.builds(
    RestartPolicy,
    condition=st.sampled_from(RestartCondition),
    delay=st.sampled_from((0, SECOND, 5 * SECOND)),
    max_attempts=st.sampled_from((None, 1, 2)),
    window=st.sampled_from((None, 10 * SECOND)),
)


class Witness:
    """A state machine beside the store: it looks at the state after every commit and counts them."""

    def __init__(self, world: World, look: Callable[[list[Task]], None] = lambda tasks: None) -> None:
        self._world, self._look = world, look
        self._commits = 0

    def apply(self, data: bytes, index: int) -> None:
        self._commits += 1
        assert self._commits < MANY, "the loops never rest"
        self._look(list(self._world.store.view().tasks))

    def snapshot(self) -> Callable[[], bytes]:
        raise AssertionError("never asked for")

    def restore(self, data: bytes, index: int) -> None:
        raise AssertionError("never asked for")


def one_task_shall_run_in_each_slot(tasks: list[Task]) -> None:
    shall = Counter(task.slot for task in tasks if task.desired_state is S.RUNNING)
    assert all(count == 1 for count in shall.values()), shall


async def happen(world: World, what: str, which: int) -> None:
    match what:
        case "fails" | "completes":
            if running := world.running():
                end = S.FAILED if what == "fails" else S.COMPLETE
                await world.ended(running[which % len(running)], end)
        case "down" | "up":
            await world.node_is(NODES[which % 3], NodeState.DOWN if what == "down" else NodeState.READY)
        case "drain" | "active":
            await world.availability(
                NODES[which % 3], Availability.DRAIN if what == "drain" else Availability.ACTIVE
            )
        case "scale":
            await world.scale(which % 7)
        case "update" | "broken":
            name = f"web:{which % 3}" if what == "update" else "broken"
            await world.change(
                lambda spec: replace(spec, task_template=template(name, spec.task_template.restart_policy))
            )


async def live_through(world: World, events: list[Event], *, mend: bool = True) -> None:
    """The events, then the end of all trouble, then time to come to rest."""
    await world.nodes(*NODES)
    left = list(events)
    while True:
        async with world.led():
            await world.rest()
            while left:
                what, which, pause = left.pop(0)
                if what == "leader":
                    break
                await happen(world, what, which)
                await world.rest(pause)
            else:
                for id in NODES:
                    await world.node_is(id, NodeState.READY)
                    await world.availability(id, Availability.ACTIVE)
                if mend:
                    world.fails = lambda task: False
                await world.rest(ENOUGH)
                assert await world.is_quiet(200.0), "the loops never rest"
                return


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, CONFIGS)
def test_all_replicas_run_the_wanted_spec_in_the_end(events: list[Event], config: UpdateConfig) -> None:
    config = replace(config, failure_action=FailureAction.CONTINUE)

    async def story(world: World) -> None:
        await world.put(service(3, template(policy=RestartPolicy(delay=SECOND)), update=config))
        stop_first = config.order is UpdateOrder.STOP_FIRST
        world.raft.machines.append(
            Witness(world, one_task_shall_run_in_each_slot) if stop_first else Witness(world)
        )
        await live_through(world, events)
        found = world.store.view().services.get("svc")
        assert found is not None
        shall = [task for task in world.tasks() if task.desired_state <= S.RUNNING]
        assert sorted(task.slot for task in shall) == sorted({task.slot for task in shall})
        assert len(shall) == found.spec.replicas
        assert {task.status.state for task in shall} <= {S.RUNNING}
        assert all(is_current(task, found, node(task.node_id)) for task in shall)

    in_world(story)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS, CONFIGS, POLICIES, st.sampled_from((0, 1, 2, 5, -1)))
def test_no_policy_makes_the_loops_restless_or_a_slot_double(
    events: list[Event], config: UpdateConfig, policy: RestartPolicy, limit: int
) -> None:
    async def story(world: World) -> None:
        world.fails = lambda task: task.spec.container.image == "broken"
        world.raft.machines.append(Witness(world))
        await world.history(limit)
        made = service(3, template(policy=policy), update=config)
        await world.put(replace(made, spec=replace(made.spec, rollback_config=config)))
        # What never runs is restarted for ever by right, unless the policy ends that.
        ends = policy.condition is RestartCondition.NONE or (policy.max_attempts and not policy.window)
        await live_through(world, events, mend=not ends)
        found = world.store.view().services.get("svc")
        assert found is not None
        slots = by_place(world.tasks())
        assert len(slots) == found.spec.replicas
        for slot in slots.values():
            assert len(live(slot)) <= 1
            assert live(slot) or not should_restart(slot[-1], slot)

    in_world(story)
