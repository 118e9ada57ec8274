"""File descriptors of this process: as many as it may have, and enough left for what the daemon itself does.

A daemon that has none left can neither talk with its manager nor see a container end: the node is lost. So the limit
is raised at the start, and containers are refused while there still is room for everything else. What containers and
the tools that start them get is the limit that the daemon was started with, as ever.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from swarmcore.errors import FailedPrecondition

#: A container's: its namespace, the rules in it, its name server's two sockets, and its supervisor's end.
PER_CONTAINER = 5
_MOST = 1 << 20  # more help nobody, and some programs walk through all that they may have
_RESERVE, _RESERVE_SHARE = 512, 8  # kept for the daemon: so many, or of a small limit this part


class Limit(Struct, frozen=True):
    """The soft limit, which holds, and the hard one, up to which a process may raise it."""

    soft: int
    hard: int


class Descriptors:
    """`limit` and `in_use` tell of this process."""

    def __init__(self, limit: Callable[[], int], in_use: Callable[[], int]) -> None:
        self._limit, self._in_use = limit, in_use

    def room(self) -> int:
        """For how many more containers there is."""
        limit = self._limit()
        return max(0, limit - reserve(limit) - self._in_use()) // PER_CONTAINER

    def check(self) -> None:
        """FailedPrecondition where another container would take what the daemon needs itself. Blocking."""
        if self.room() < 1:
            raise FailedPrecondition(
                f"this node has no file descriptors for another container: {self._in_use()} of {self._limit()} are "
                "in use, and the rest is the daemon's own",
                "raise the hard limit that the daemon is started with (ulimit -Hn, LimitNOFILE=)",
            )


def reserve(limit: int) -> int:
    return min(_RESERVE, limit // _RESERVE_SHARE)


def raise_limit() -> Limit:
    """Up to the hard limit; what it was before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most()
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return Limit(soft, hard)


def most() -> int:
    """What the soft limit can be raised to."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)


def current() -> int:
    """The soft limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def in_use(process: str = "self") -> int:
    """Of a process, this one if not said. Blocking: some kernels have to be asked for each."""
    folder = Path("/proc", process, "fd")
    return folder.stat().st_size or sum(1 for _ in folder.iterdir())


def of_this_process() -> Descriptors:
    return Descriptors(current, in_use)
