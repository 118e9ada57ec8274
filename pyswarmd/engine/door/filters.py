"""The `filters` query value in both encodings: `{"k":{"v":true}}` (docker) and `{"k":["v"]}` (docker-py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from swarmcore.durations import duration
from swarmcore.errors import Invalid, clipped

Filters = dict[str, list[str]]


def parse(text: str | None, known: Collection[str]) -> Filters:
    """Key to its wanted values; a key that this list does not know is refused."""
    if not text:
        return {}
    try:
        raw = msgspec.json.decode(text, type=dict[str, dict[str, bool] | list[str] | None])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise Invalid(f"invalid filters {clipped(text)}", 'send JSON like {"name":["web"]}') from None
    found: Filters = {}
    for key, values in raw.items():
        if key not in known:
            raise Invalid(f"invalid filter {clipped(key)}", f"known are {', '.join(sorted(known))}")
        if isinstance(values, dict):
            found[key] = [value for value, wanted in values.items() if wanted]
        else:
            found[key] = list(values or ())
    return found


def flag(text: str | None) -> bool:
    """A switch of a query string, as Docker reads most of them: absent, empty, 0, no, false, none are false."""
    return (text or "").strip().lower() not in ("", "0", "no", "false", "none")


def moment(values: Sequence[str], now: datetime) -> datetime | None:
    """`until`: an RFC 3339 time, Unix seconds, or how long ago (`24h`)."""
    if not values:
        return None
    if len(values) > 1:
        raise Invalid("more than one until filter specified")
    text = values[0]
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        pass  # another of the three forms
    try:
        when = datetime.fromisoformat(text)
        return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return now - timedelta(microseconds=duration(text) // 1000)
    except OverflowError:
        raise Invalid(
            f"invalid until filter {clipped(text)}", "write it like 24h or 2026-01-31T12:00:00Z"
        ) from None
