"""Commits as their readers get them: bounded feeds that rather say "you lag" than grow or block a commit."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Literal, TypeVar

from msgspec import Struct

from swarmcore.errors import Internal
from swarmcore.model.base import Object

O = TypeVar("O", bound=Object)  # noqa: E741
Kind = Literal["create", "update", "remove"]


class Change(Struct, frozen=True, kw_only=True, gc=False):
    """One object of a commit: `old` is None when created, `new` is None when removed."""

    kind: Kind
    old: Object | None
    new: Object | None

    @property
    def object(self) -> Object:
        """What it is now, or what it was last."""
        found = self.new or self.old
        assert found is not None
        return found


Kinds = frozenset[type[Object]]  # of objects


class Commit(Struct, frozen=True, kw_only=True):
    """What one raft entry changed, in the order of the log."""

    index: int
    changes: tuple[Change, ...]

    def kinds(self) -> Kinds:
        """Of which objects something changed."""
        return frozenset(type(change.object) for change in self.changes)


class Lagged(Internal):
    """Raised by `Feed.get`: commits were dropped (slow reader, or a snapshot was installed). Read all again.

    Take the new view after this was raised: the feed goes on from here.
    """


class Feed:
    """One reader's commits, at most `limit` of them waiting; of `kinds` only those that change such an object."""

    def __init__(self, limit: int, kinds: Kinds | None = None) -> None:
        self._limit = limit
        self._kinds = kinds
        self._waiting: deque[Commit] = deque()
        self._lagged = False
        self._ready = asyncio.Event()

    async def get(self) -> Commit:
        """The next commit; raises Lagged once when some were dropped."""
        while not (self._waiting or self._lagged):  # another may drain it between the wake-up and here
            await self._ready.wait()
        if self._lagged:
            self._lagged = False
            self._settle()
            raise Lagged("the watch fell behind the store")
        commit = self._waiting.popleft()
        self._settle()
        return commit

    def drain(self) -> tuple[Commit, ...]:
        """All that waits now, without waiting; nothing when it lags (the next `get` says so)."""
        if self._lagged:
            return ()
        commits = tuple(self._waiting)
        self._waiting.clear()
        self._settle()
        return commits

    def wants(self, kinds: Kinds) -> bool:
        """A reader that a commit does not concern is not woken by it."""
        return self._kinds is None or not self._kinds.isdisjoint(kinds)

    def offer(self, commit: Commit) -> None:
        if len(self._waiting) >= self._limit:
            self.lag()
        elif not self._lagged:
            self._waiting.append(commit)
            self._ready.set()

    def lag(self) -> None:
        self._waiting.clear()
        self._lagged = True
        self._ready.set()

    def _settle(self) -> None:
        if not self._waiting and not self._lagged:
            self._ready.clear()
