"""Answers of upstreams, kept as long as their TTLs say and as memory allows. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Hashable

from netoverlay.dns.response import Response

_OVERHEAD = 500  # about what Python needs for an entry beside the message


class Cache:
    """The least recently used answers go first."""

    def __init__(self, entries: int, size: int, seconds: int) -> None:
        self._entries, self._size, self._seconds = entries, size, seconds
        self._kept: dict[Hashable, tuple[Response, float]] = {}
        self._used = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, now: float) -> tuple[Response, int] | None:
        """The answer and its age in whole seconds; None when it is not there or too old."""
        if (found := self._kept.pop(key, None)) is None:
            return None
        response, since = found
        age = int(now - since)
        if age >= min(response.lifetime, self._seconds):
            self._used -= _weight(response)
            return None
        self._kept[key] = found  # at the end now: a dict keeps the order of insertion
        return response, age

    def put(self, key: Hashable, response: Response, now: float) -> None:
        if not response.lifetime or _weight(response) > self._size // 16:
            return
        self._drop(key)
        self._kept[key] = response, now
        self._used += _weight(response)
        while len(self._kept) > self._entries or self._used > self._size:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        if (found := self._kept.pop(key, None)) is not None:
            self._used -= _weight(found[0])


def _weight(response: Response) -> int:
    return len(response.message) + 16 * len(response.ends) + _OVERHEAD
