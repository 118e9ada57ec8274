"""One figure that the daemon tells of itself; who serves it decides how it is written."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Sample(Struct, frozen=True, kw_only=True):
    """`counts`: it only grows while the daemon lives. Names follow Prometheus' rules, without `_total`."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = {}
    counts: bool = False
