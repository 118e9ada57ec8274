"""Raft under simulated faults: no invariant breaks, and the simulation notices when a protection is taken away.

More of the same: `python -m tests.sim.run --seeds 2000`. A violation found there becomes a line of `SEEDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing.pool import Pool

import pytest

from tests.sim.mutants import MUTANTS
from tests.sim.run import PLANS, Run, caught, play_run, processes, runs

EACH = 25
#: (seed, plan): runs that once broke an invariant.
SEEDS = (
    (15, "churn"),  # a stranger led when its deadline passed between two looks at the clock
    (18, "churn"),  # members that were demoted and came back elected a removed one that had not heard of it
    (77, "churn-storm"),
    (68, "divided"),  # one of them voted twice in a term
    (1234, "recovery"),  # who was demoted before the recovery refused its votes to the recovered swarm's logs
    (1750, "recovery"),
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with processes() as pool:
        yield pool


def violations(pool: Pool, wanted: list[Run]) -> list[str]:
    return [
        f"{violation}; again: python -m tests.sim.run --plan {plan} --seed {seed}"
        for (seed, plan, _), report in zip(wanted, pool.imap(play_run, wanted), strict=True)
        for violation in report.violations
    ]


@pytest.mark.parametrize("plan", PLANS)
def test_no_invariant_breaks(pool: Pool, plan: str) -> None:
    assert violations(pool, list(runs(EACH, plan=plan))) == []


def test_runs_that_once_broke_an_invariant_stay_whole(pool: Pool) -> None:
    assert violations(pool, [(seed, plan, None) for seed, plan in SEEDS]) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_fault_is_noticed(pool: Pool, mutant: str) -> None:
    assert caught(mutant, pool)


def test_the_same_seed_is_the_same_run(pool: Pool) -> None:
    one, again = pool.map(play_run, [(5, "churn-storm", None)] * 2, chunksize=1)
    assert one == again
