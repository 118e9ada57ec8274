"""Durations as people write them, in Go's form."""

from __future__ import annotations

import re

from swarmcore.errors import Invalid

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def duration(text: str) -> int:
    """Nanoseconds of `10s`, `1m30s`, `250ms`, or of plain `0`."""
    if text == "0":
        return 0
    parts = list(_DURATION.finditer(text))
    if not parts or "".join(p[0] for p in parts) != text:
        raise Invalid(f"invalid duration {text!r}", "write it like 10s, 1m30s or 250ms")
    return sum(round(float(p[1]) * _NANOSECONDS[p[2]]) for p in parts)
