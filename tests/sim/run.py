"""`python -m tests.sim.run --seeds N`: play many seeds on all cores; exit code 1 if an invariant broke."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from functools import partial

from tests.sim.story import CHURN, CHURN_STORM, ELECTIONS, FIVE, LATE, STORM, Plan, Report, play

PLANS: dict[str, Plan] = {
    "three": Plan(),
    "storm": STORM,
    "five": FIVE,
    "elections": ELECTIONS,
    "late": LATE,
    "churn": CHURN,
    "churn-storm": CHURN_STORM,
}


def _play(seed: int, name: str) -> Report:
    logging.disable(logging.CRITICAL)
    return play(seed, PLANS[name])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many seeds for each plan")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--plan", choices=sorted(PLANS), action="append", help="default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    failed = 0
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for name in options.plan or PLANS:
            started = time.monotonic()
            numbers: Counter[str] = Counter()
            recoveries = []
            bad = 0
            seeds = range(options.first, options.first + options.seeds)
            for report in pool.imap(partial(_play, name=name), seeds, chunksize=4):
                numbers.update(report.numbers)
                recoveries.append(report.recovery)
                if report.violations:
                    bad += 1
                    print(f"{name} seed {report.seed}: {report.violations[0]}", flush=True)
            facts = ", ".join(f"{count} {what}" for what, count in numbers.items())
            slowest = max(recoveries, default=0.0)
            print(
                f"{name}: {len(seeds)} seeds, {bad} violated; {facts}; "
                f"slowest recovery {slowest:.1f} s; took {time.monotonic() - started:.1f} s",
                flush=True,
            )
            failed += bad
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
