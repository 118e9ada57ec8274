"""The garbage collector is calm, but still collects cycles."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from swarmcore.process.memory import THRESHOLDS, calm_collector


@pytest.fixture
def calm() -> Iterator[None]:
    before = gc.get_threshold()
    calm_collector()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


class Knot:
    def __init__(self) -> None:
        self.me = self


@pytest.mark.usefixtures("calm")
def test_cycles_that_are_made_later_are_collected() -> None:
    assert gc.get_threshold() == THRESHOLDS and gc.isenabled()
    gone = weakref.ref(Knot())
    rest = [[] for _ in range(2 * THRESHOLDS[0])]  # type: list[list[object]]
    assert gone() is None and rest
