"""What parts run into: which errors pass, what is said of them and how often."""

from __future__ import annotations

import errno
import logging

import pytest

from swarmcore.errors import NotFound, Unavailable
from swarmcore.process.faults import LONGEST, Faults, log_level, one_line, passes


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FULL, True),
        (OSError(errno.EMFILE, "too many"), True),
        (MemoryError(), True),
        (caused(Unavailable("cannot write"), FULL), True),
        (caused(Unavailable("a"), caused(Unavailable("b"), FULL)), True),
        (ExceptionGroup("both", [FULL, MemoryError()]), True),
        (ExceptionGroup("one of them", [FULL, ValueError("bug")]), False),
        (OSError(errno.EPERM, "not permitted"), False),
        (OSError("without a number"), False),
        (ValueError("bug"), False),
        (caused(Unavailable("cannot write"), ValueError("bug")), False),
    ],
    ids=repr,
)
def test_an_error_passes_if_it_ends_by_itself_or_by_what_others_free(
    error: Exception, expected: bool
) -> None:
    assert passes(error) is expected
    assert log_level(error) == (logging.WARNING if expected else logging.ERROR)


def test_a_line_says_what_kind_of_fault_it_is_and_ends() -> None:
    assert one_line(ValueError("two\n  lines")) == "ValueError: two lines"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(FULL) == "[Errno 28] No space left on device"
    assert one_line(ExceptionGroup("g", [ValueError("inner")])) == "ValueError: inner"
    assert len(one_line(ValueError("x" * 5000))) == LONGEST


def test_the_same_error_again_is_no_news_and_counts() -> None:
    faults, told = Faults(), []
    faults.listen(lambda: told.append(faults.text))
    assert faults.failed("agent", ValueError("a"))
    assert not faults.failed("agent", ValueError("a"))
    assert faults.failed("agent", ValueError("b"))
    assert faults.failed("dns", NotFound("c"))
    assert faults.text == "agent: ValueError: b; dns: NotFound: c"
    assert (faults.counts, list(faults)) == ({"agent": 3, "dns": 1}, ["agent", "dns"])
    faults.over("agent")
    faults.over("agent")
    assert faults.text == "dns: NotFound: c" == told[-1]
    assert len(told) == 4 and faults.counts["agent"] == 3


def test_what_is_said_of_a_part_is_taken_back_by_saying_nothing(caplog: pytest.LogCaptureFixture) -> None:
    faults, told = Faults(), []
    stop = faults.listen(lambda: told.append(faults.text))
    faults.say("clock", "this host's clock is behind")
    faults.say("clock", "this host's clock is behind")
    faults.say("clock", "")
    stop()
    faults.say("clock", "again")
    assert told == ["clock: this host's clock is behind", ""]
    assert [record.message for record in caplog.records] == ["this host's clock is behind", "again"]
    assert faults.counts == {}
