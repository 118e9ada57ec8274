"""Which streams between managers may carry raft's messages at all: those within one generation of the swarm."""

from __future__ import annotations

from collections.abc import Callable

from swarmcore.errors import Superseded
from swarmcore.model.generation import Generation


def superseded(by: Generation) -> Superseded:
    return Superseded(
        f"this manager belongs to the swarm as it was before it was recovered on {by.date}: "
        'run "pyswarm leave --force" and join anew'
    )


class Fence:
    """Both ends of a stream name their generation in its first frame, and each judges the other's.

    None stands for a manager that has none yet: it joins, and core's own rules (acquaintance.py) hold for it.
    """

    def __init__(self, own: Callable[[], Generation | None]) -> None:
        self._own = own

    def frame(self) -> Generation | None:
        """What this end names."""
        return self._own()

    def left_behind_by(self, theirs: Generation | None) -> Generation | None:
        """The newer generation, if the other end is of one and this end is not."""
        own = self._own()
        return theirs if own is not None and theirs is not None and theirs.newer_than(own) else None

    def ahead_of(self, theirs: Generation | None) -> Generation | None:
        """This end's generation, if the other end is of an older one."""
        own = self._own()
        return own if own is not None and theirs is not None and own.newer_than(theirs) else None

    def admits(self, theirs: Generation | None) -> bool:
        return self.left_behind_by(theirs) is None and self.ahead_of(theirs) is None
