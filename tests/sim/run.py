"""Plays many simulated runs on all cores; exit code 1 if an invariant broke or a planted fault was not noticed.

python -m tests.sim.run --seeds 2000                      so many runs, the plans in turn
python -m tests.sim.run --seeds 300 --plan storm          all of one plan
python -m tests.sim.run --plan storm --seed 17            one run again
python -m tests.sim.run --mutants                         does the simulation notice planted faults?
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from multiprocessing.pool import Pool

from tests.sim.mutants import MUTANTS
from tests.sim.plans import (
    CHURN,
    CHURN_LOAD,
    CHURN_STORM,
    CLOCKS,
    DIVIDED,
    ELECTIONS,
    FIVE,
    LATE,
    READS,
    RECOVERY,
    RECOVERY_UNFENCED,
    STORM,
    Plan,
)
from tests.sim.story import Report, play

PLANS: dict[str, Plan] = {
    "three": Plan(),
    "storm": STORM,
    "five": FIVE,
    "elections": ELECTIONS,
    "late": LATE,
    "churn": CHURN,
    "churn-storm": CHURN_STORM,
    "reads": READS,
    "divided": DIVIDED,
    "churn-load": CHURN_LOAD,
    "clocks": CLOCKS,
    "recovery": RECOVERY,
    "recovery-unfenced": RECOVERY_UNFENCED,
}
#: A planted fault must be noticed within so many runs of the plan that suits it.
MUTANT_RUNS = 400

Run = tuple[int, str, str | None]  # seed, plan, mutant


def runs(count: int, first: int = 0, plan: str | None = None, mutant: str | None = None) -> Iterator[Run]:
    names = [plan] if plan else list(PLANS)
    for seed in range(first, first + count):
        yield seed, names[seed % len(names)], mutant


def play_run(run: Run) -> Report:
    seed, plan, mutant = run
    logging.disable(logging.CRITICAL)
    fault: AbstractContextManager[object] = MUTANTS[mutant].plant() if mutant else nullcontext()
    with fault:
        return play(seed, PLANS[plan])


def processes(jobs: int = os.cpu_count() or 1) -> Pool:
    return multiprocessing.get_context("spawn").Pool(jobs)


def caught(mutant: str, pool: Pool, limit: int = MUTANT_RUNS) -> tuple[int, str] | None:
    """After how many runs the planted fault showed, and as what."""
    wanted = runs(limit, plan=MUTANTS[mutant].plan, mutant=mutant)
    while batch := list(islice(wanted, 12)):
        for (seed, *_), report in zip(batch, pool.imap(play_run, batch), strict=True):
            if report.violations:
                return seed + 1, report.violations[0]
    return None


def _check_mutants(pool: Pool) -> int:
    missed = 0
    for name, mutant in MUTANTS.items():
        started = time.monotonic()
        found = caught(name, pool)
        seconds = time.monotonic() - started
        missed += found is None
        verdict = "NOT NOTICED" if found is None else f"run {found[0]}: {found[1]}"
        print(f"{name} ({mutant.plan}, {seconds:.1f} s): {verdict}", flush=True)
    return missed


def _check(wanted: list[Run], pool: Pool) -> int:
    started = time.monotonic()
    numbers: dict[str, Counter[str]] = {}
    slowest = 0.0
    failed = 0
    for (seed, plan, _), report in zip(wanted, pool.imap(play_run, wanted, chunksize=2), strict=True):
        numbers.setdefault(plan, Counter()).update({"runs": 1, **report.numbers})
        slowest = max(slowest, report.recovery)
        if report.violations:
            failed += 1
            print(f"VIOLATED: {report.violations[0]}")
            print(f"  again: python -m tests.sim.run --plan {plan} --seed {seed}", flush=True)
    columns = list(next(iter(numbers.values()), {}))
    print(f"{'plan':18}" + "".join(f"{column:>13}" for column in columns))
    total: Counter[str] = Counter()
    for plan, counts in numbers.items():
        total.update(counts)
        print(f"{plan:18}" + "".join(f"{counts[column]:13}" for column in columns))
    print(f"{'all':18}" + "".join(f"{total[column]:13}" for column in columns))
    seconds = time.monotonic() - started
    print(
        f"{failed} of {len(wanted)} runs violated an invariant; slowest recovery {slowest:.1f} simulated s; "
        f"took {seconds:.1f} s, {len(wanted) / seconds:.1f} runs per second"
    )
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many runs")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--plan", choices=sorted(PLANS), help="only this one; default: all in turn")
    parser.add_argument("--seed", type=int, help="this run only")
    parser.add_argument("--mutants", action="store_true", help="check that planted faults are noticed")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant this fault")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        (run,) = runs(1, options.seed, options.plan, options.mutant)
        report = play_run(run)
        print("\n".join((*report.violations, *(f"{what}: {n}" for what, n in report.numbers.items()))))
        return 1 if report.violations else 0
    with processes(options.jobs) as pool:
        if options.mutants:
            return 1 if _check_mutants(pool) else 0
        wanted = list(runs(options.seeds, options.first, options.plan, options.mutant))
        return 1 if _check(wanted, pool) else 0


if __name__ == "__main__":
    sys.exit(main())
