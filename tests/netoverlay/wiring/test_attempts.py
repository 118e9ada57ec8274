"""Steps that are all tried."""

from __future__ import annotations

import pytest

from netoverlay.wiring.attempts import Attempts
from swarmcore.errors import NotFound


def failing(error: Exception) -> int:
    raise error


def test_every_step_is_tried_and_the_first_failure_is_raised() -> None:
    attempts = Attempts()
    first = OSError(1, "the first")
    assert attempts(lambda: failing(first)) == 0
    assert attempts(lambda: failing(NotFound("the second"))) == 0
    assert attempts(lambda: 7) == 7
    with pytest.raises(OSError, match="the first") as raised:
        attempts.done()
    assert raised.value is first


def test_a_fault_of_ours_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        Attempts()(lambda: failing(KeyError("x")))


def test_nothing_is_raised_where_nothing_failed() -> None:
    attempts = Attempts()
    attempts(lambda: 1)
    attempts.done()
