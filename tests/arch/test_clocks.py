"""Time and chance come in as arguments: only clocks and the places that put parts together know the real ones."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.arch.test_shape import PACKAGES, ROOT

#: The clocks, and where a daemon is put together.
ALLOWED = {
    "manager/manager.py",
    "manager/raft/open.py",
    "netoverlay/host.py",
    "pyswarmd/daemon.py",
    "pyswarmd/node/manager_side.py",
    "pyswarmd/node/member.py",
    "pyswarmd/node/networks.py",
    "pyswarmd/node/node.py",
    "swarmcore/clock.py",
}
#: It may only get shorter: a file that needs no place in it any more fails the test.
EXCEPTIONS = {
    "pyswarmd/engine/host/system.py",  # tells what this host's own clock shows, not what the managers agreed on
    "worker/containers/container.py",
}

_OF_TIME = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
_OF_DATETIME = {"now", "utcnow", "today"}
_OF_RANDOM = {"Random", "SystemRandom"}
_REAL = {"monotonic", "utc_now", "RealClock"}


def _names(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for: "time", "datetime.datetime", "swarmcore.clock.utc_now"."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update({alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return found


def _meant(node: ast.expr, names: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (above := _meant(node.value, names)):
        return f"{above}.{node.attr}"
    return ""


def _is_a_clock(meant: str) -> bool:
    """Whoever names it reads a clock or throws dice of its own."""
    module, _, name = meant.rpartition(".")
    return (
        (module == "time" and name in _OF_TIME)
        or (module in ("datetime.datetime", "datetime.date") and name in _OF_DATETIME)
        or (module == "random" and name not in _OF_RANDOM)
        or module == "swarmcore.clock.REAL_CLOCK"
    )


def faults(source: str) -> Iterator[str]:
    """A real clock may be the default of an argument, by its name in `swarmcore.clock`, but is not asked by itself."""
    tree = ast.parse(source)
    names = _names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and _is_a_clock(meant := _meant(node, names)):
            yield f"{node.lineno}: {meant}"
        if isinstance(node, ast.Call):
            module, _, called = _meant(node.func, names).rpartition(".")
            unseeded = module == "random" and called in _OF_RANDOM and not node.args
            if unseeded or (module == "swarmcore.clock" and called in _REAL):
                yield f"{node.lineno}: {module}.{called}()"


def _modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def _found() -> dict[str, list[str]]:
    return {
        str(path.relative_to(ROOT)): found for path in _modules() if (found := list(faults(path.read_text())))
    }


def test_nobody_looks_at_a_clock_of_its_own() -> None:
    found = _found()
    assert {name: lines for name, lines in found.items() if name not in ALLOWED | EXCEPTIONS} == {}


def test_the_lists_name_nobody_who_needs_it_no_more() -> None:
    assert sorted((ALLOWED | EXCEPTIONS) - _found().keys()) == []


def test_the_test_above_sees_every_way_to_a_clock() -> None:
    source = """
import random, time
import datetime as dates
from datetime import datetime
from random import Random, SystemRandom, choice
from time import monotonic as seconds
from swarmcore.clock import REAL_CLOCK, RealClock, jitter, monotonic, utc_now

def fine(clock=monotonic, now=utc_now, random=Random(3)): return jitter(random, clock(), 0.1), now()

a = time.time(), seconds, dates.datetime.now()
b = datetime.utcnow(), random.random(), Random(), SystemRandom()
c = choice([]), monotonic(), utc_now(), RealClock(), REAL_CLOCK.now()
"""
    assert sorted(fault.partition(": ")[2] for fault in faults(source)) == [
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "random.Random()",
        "random.SystemRandom()",
        "random.choice",
        "random.random",
        "swarmcore.clock.REAL_CLOCK.now",
        "swarmcore.clock.RealClock()",
        "swarmcore.clock.monotonic()",
        "swarmcore.clock.utc_now()",
        "time.monotonic",
        "time.time",
    ]
