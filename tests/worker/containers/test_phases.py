"""The life of a container, pair by pair."""

from __future__ import annotations

from itertools import product

import pytest

from worker.containers.phases import Adoption, Phase, Step, adoption, next_phase

P, S = Phase, Step
LEADS_TO = {
    (P.PREPARED, S.CREATE): P.CREATING,
    (P.PREPARED, S.END): P.EXITED,  # stopped before it was started
    (P.CREATING, S.CREATE): P.CREATING,  # another runtime, or a new spawner
    (P.CREATING, S.RUN): P.RUNNING,
    (P.CREATING, S.UNDO): P.PREPARED,
    (P.CREATING, S.END): P.EXITED,
    (P.RUNNING, S.END): P.EXITED,
    (P.EXITED, S.END): P.EXITED,  # learned again
}


@pytest.mark.parametrize(("phase", "step"), list(product(Phase, Step)))
def test_each_step_leads_where_the_life_of_a_container_goes_or_nowhere(phase: Phase, step: Step) -> None:
    assert next_phase(phase, step) == LEADS_TO.get((phase, step))


@pytest.mark.parametrize(
    ("phase", "what"),
    [
        (P.PREPARED, Adoption.KEEP),
        (P.CREATING, Adoption.START_OVER),
        (P.RUNNING, Adoption.WATCH),
        (P.EXITED, Adoption.TELL),
    ],
)
def test_the_next_daemon_knows_what_to_do_with_each_phase(phase: Phase, what: Adoption) -> None:
    assert adoption(phase) is what


def test_an_end_is_for_good_and_can_come_at_any_time() -> None:
    for phase in Phase:
        assert next_phase(phase, Step.END) is Phase.EXITED
    assert {next_phase(Phase.EXITED, step) for step in Step} == {Phase.EXITED, None}
