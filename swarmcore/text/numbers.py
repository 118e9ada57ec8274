"""Whole numbers that somebody outside wrote as text. `int` alone takes too much for one: `²`, `1_0`, 5,000 digits."""

from __future__ import annotations

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
UINT64_MAX = 2**64 - 1


def whole(text: str, most: int, least: int = 0) -> int | None:
    """The number that `text` writes in the digits 0 to 9; None where it is none, or not from `least` to `most`."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > len(str(most)):
        return None
    number = int(digits)
    return number if least <= number <= most else None
