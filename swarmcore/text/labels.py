"""Labels as users ask for them: the `label` filters of every list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def has_label(labels: Mapping[str, str], values: Sequence[str]) -> bool:
    """`key` or `key=value`, all of which must hold."""
    for wanted in values:
        key, sign, value = wanted.partition("=")
        if key not in labels or (sign and labels[key] != value):
            return False
    return True
