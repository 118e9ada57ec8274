"""What people type for times, sizes and pairs, as the numbers and maps that the API takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from swarmcore.durations import duration as duration
from swarmcore.errors import Invalid
from swarmcore.patterns import IGNORECASE, Pattern

_SIZE = Pattern(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", 64, IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def size(text: str) -> int:
    """Bytes of `64M`, `1.5g`, `1048576` (powers of 1024, as Docker counts)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Invalid(f"invalid size {text!r}", "write it like 64M, 1g or 1048576")
    return int(float(match[1]) * 1024 ** _POWER[match[2].lower()])


def cpus(text: str) -> int:
    """Billionths of a CPU of `0.5`."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not math.isfinite(number) or number < 0:
        raise Invalid(f"invalid number of CPUs {text!r}", "write it like 0.5 or 2")
    return round(number * 10**9)


def pairs(items: Iterable[str], what: str, *, value_needed: bool = False) -> dict[str, str]:
    """`KEY=VALUE` items as a map; `KEY` alone has an empty value unless one is needed."""
    found: dict[str, str] = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not key or (value_needed and not sign):
            raise Invalid(f"invalid {what} {item!r}", "write it like KEY=VALUE")
        found[key] = value
    return found


def options(text: str, what: str) -> Mapping[str, str]:
    """`type=bind,src=/a,readonly` as a map; a word without `=` means true."""
    found: dict[str, str] = {}
    for item in text.split(","):
        key, sign, value = item.strip().partition("=")
        if not key:
            raise Invalid(f"invalid {what} {text!r}", "write it like key=value,key=value")
        found[key.lower()] = value if sign else "true"
    return found
