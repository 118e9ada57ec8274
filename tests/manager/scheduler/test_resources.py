from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manager.scheduler.resources import Free
from swarmcore.model.resources import Resources
from swarmcore.model.task import Task
from tests.manager.scheduler.objects import count, named, task

GPUS = Resources(generic_resources=(named("gpu", "b"), named("gpu", "a"), count("ssd", 3)))


def test_names_are_given_in_order_and_only_once() -> None:
    free = Free(GPUS)
    wanted = Resources(generic_resources=(count("gpu", 1),))
    first = free.claim(wanted)
    assert first == (named("gpu", "a"),)
    free.reserve(task("t1", generic=first))
    second = free.claim(wanted)
    assert second == (named("gpu", "b"),)
    free.reserve(task("t2", generic=second))
    assert free.claim(wanted) is None
    free.release(task("t1", generic=first))
    assert free.claim(wanted) == first


def test_a_claim_for_two_kinds_names_both() -> None:
    wanted = Resources(generic_resources=(count("gpu", 2), count("ssd", 3)))
    assert Free(GPUS).claim(wanted) == (named("gpu", "a"), named("gpu", "b"), count("ssd", 3))


def test_a_name_can_be_asked_for() -> None:
    free = Free(GPUS)
    assert free.claim(Resources(generic_resources=(named("gpu", "b"),))) == (named("gpu", "b"),)
    assert free.claim(Resources(generic_resources=(named("gpu", "c"),))) is None
    assert free.claim(Resources(generic_resources=(named("gpu", "b"), count("gpu", 2)))) is None


tasks = st.builds(
    lambda i, cpus, memory, ssd: task(
        f"t{i}",
        reserve=Resources(nano_cpus=cpus, memory_bytes=memory),
        generic=(count("ssd", ssd),) if ssd else (named("gpu", "a"),),
    ),
    st.integers(0, 9),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 2),
)


@given(st.lists(tasks, max_size=8), st.randoms(use_true_random=False))
def test_what_all_tasks_give_back_in_any_order_is_what_they_took(held: list[Task], random: object) -> None:
    total = Resources(nano_cpus=3, memory_bytes=4, generic_resources=GPUS.generic_resources)
    everything = Resources(nano_cpus=3, memory_bytes=4, generic_resources=(count("gpu", 2), count("ssd", 3)))
    free = Free(total)
    for each in held:
        free.reserve(each)
    for each in sorted(held, key=lambda _: random.random()):  # type: ignore[attr-defined]
        free.release(each)
    assert (free.nano_cpus, free.memory_bytes) == (3, 4)
    assert free.fits(everything)
