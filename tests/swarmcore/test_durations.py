"""Durations as Go reads them."""

from __future__ import annotations

import pytest

from swarmcore.durations import LARGEST, duration
from swarmcore.errors import Invalid


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("10s", 10 * 10**9),
        ("1m30s", 90 * 10**9),
        ("1.5h", 5400 * 10**9),
        (".5s", 5 * 10**8),
        ("1.s", 10**9),
        ("+1s", 10**9),
        ("250ms", 25 * 10**7),
        ("7us", 7000),
        ("7µs", 7000),
        ("7μs", 7000),
        ("3ns", 3),
        ("9223372036854775807ns", LARGEST),
        ("0.1234567891s", 123456789),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "s",
        ".s",
        "1x",
        "10 s",
        "-1s",
        "1s ",
        "٣s",
        "9223372036854775808ns",
        "1" * 400 + "h",
        "1" * 100_000,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Invalid, match="invalid duration"):
        duration(text)
