"""What people type for times, sizes and pairs, as the numbers and maps that the API takes."""

from __future__ import annotations

import csv
from collections.abc import Iterable

from swarmcore.durations import duration as duration
from swarmcore.errors import Invalid, clipped
from swarmcore.text.numbers import INT64_MAX, whole
from swarmcore.text.patterns import IGNORECASE, Pattern

_SIZE = Pattern(r"(\d+(?:\.\d+)?)\s*([kmgtp]?)i?b?", 64, IGNORECASE)
_POWER = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def size(text: str) -> int:
    """Bytes of `64M`, `1.5g`, `1048576` (powers of 1024, as Docker counts)."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise Invalid(f"invalid size {text!r}", "write it like 64M, 1g or 1048576")
    number = int(float(match[1]) * 1024 ** _POWER[match[2].lower()])
    if number > INT64_MAX:
        raise Invalid(f"invalid size {clipped(text)}", "it is larger than any memory")
    return number


def integer(text: str) -> int:
    """A whole number in plain digits, for argparse: `int` takes `1_000` and digits of other scripts as well."""
    number = whole(text.removeprefix("-"), INT64_MAX)
    if number is None:
        raise ValueError(text)
    return -number if text.startswith("-") else number


def cpus(text: str) -> int:
    """Billionths of a CPU of `0.5`."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not 0 <= number < INT64_MAX / 10**9:
        raise Invalid(f"invalid number of CPUs {clipped(text)}", "write it like 0.5 or 2")
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


def options(text: str, what: str) -> list[tuple[str, str]]:
    """The pairs of `type=bind,src=/a,readonly` in their order; a word without `=` means true.

    As in a CSV file, a pair in double quotes may hold commas: `"src=/a,b",dst=/b`.
    """
    try:
        (items,) = csv.reader([text], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError) as error:
        raise Invalid(
            f"invalid {what} {clipped(text)}: {error}", "write it like key=value,key=value"
        ) from None
    found: list[tuple[str, str]] = []
    for item in items or ("",):
        key, sign, value = item.strip().partition("=")
        if not key:
            raise Invalid(f"invalid {what} {clipped(text)}", "write it like key=value,key=value")
        found.append((key.lower(), value if sign else "true"))
    return found
