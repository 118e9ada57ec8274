"""Durations as people write them, in Go's form."""

from __future__ import annotations

from swarmcore.errors import Invalid, clipped
from swarmcore.text.patterns import ASCII, Pattern

LONGEST = 64  # characters
LARGEST = 2**63 - 1  # nanoseconds: Go's
_PART = Pattern(r"(?:(\d+)(?:\.(\d*))?|\.(\d+))(ns|us|µs|μs|ms|s|m|h)", LONGEST, ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}


def duration(text: str) -> int:
    """Nanoseconds of `10s`, `1m30s`, `250ms`, or of plain `0`."""
    rest = text.removeprefix("+")
    if rest == "0":
        return 0
    position = total = 0
    while found := _PART.match(rest, position):
        unit = _NANOSECONDS[found[4]]
        whole, part = found[1] or "0", found[2] or found[3] or ""
        total += int(whole) * unit + int(part or "0") * unit // 10 ** len(part)
        position = found.end()
    if not position or position < len(rest) or total > LARGEST:
        raise Invalid(f"invalid duration {clipped(text)}", "write it like 10s, 1m30s or 250ms")
    return total
