"""What was made of a value that never changes, kept for the next time: tasks of a service show one spec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

V = TypeVar("V")
LIMIT = 1024  # values; then it starts over, so that it holds no more than what is asked for now and a little before


class Kept(Generic[V]):
    """Law: values are frozen, and nobody changes what was made of them."""

    def __init__(self, make: Callable[[V], Any]) -> None:
        self._make = make
        # By identity, which is cheap to look up; the value is held, so that its identity stays its own.
        self._made: dict[int, tuple[V, Any]] = {}

    def of(self, value: V) -> Any:
        if (found := self._made.get(id(value))) is not None:
            return found[1]
        if len(self._made) >= LIMIT:
            self._made.clear()
        made = self._make(value)
        self._made[id(value)] = value, made
        return made
