"""Lines of the log: one an event, and none of them endless, whoever wrote what is in them."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from swarmcore.log import JsonFormatter, LineFormatter

_HUGE = "x" * 5_000_000


def record(message: str, *, failure: Exception | None = None, **facts: object) -> logging.LogRecord:
    info = None
    if failure is not None:
        try:
            raise failure
        except Exception:
            info = sys.exc_info()
    made = logging.LogRecord("part", logging.ERROR, "", 0, message, (), info)
    made.__dict__.update(facts)
    return made


def test_a_line_has_the_facts_quoted_where_they_need_it() -> None:
    line = LineFormatter().format(record("event", id="a1", text="two words", odd="a\x1b[0m\rb", none="", n=3))
    assert line.endswith('ERROR part: event id=a1 text="two words" odd="a\\u001b[0m\\rb" none="" n=3')


@pytest.mark.parametrize("formatter", [LineFormatter(), JsonFormatter()], ids=["line", "JSON"])
@pytest.mark.parametrize(
    "huge",
    [
        record(_HUGE),
        record("event", text=_HUGE),
        record("event", values=[_HUGE]),
        record("event", failure=ValueError(_HUGE)),
        record("event", failure=ValueError(_HUGE), text=_HUGE),
    ],
    ids=["message", "fact", "list", "exception", "all"],
)
def test_what_is_endless_is_clipped(formatter: logging.Formatter, huge: logging.LogRecord) -> None:
    line = formatter.format(huge)
    assert 4000 < len(line) < 40_000
    assert "characters)…" in line or "characters)\\u2026" in line


def test_short_facts_keep_their_kind_in_json() -> None:
    entry = json.loads(JsonFormatter().format(record("event", n=3, yes=True, values=[1, "a"], none=None)))
    assert (entry["n"], entry["yes"], entry["values"], entry["none"]) == (3, True, [1, "a"], None)
