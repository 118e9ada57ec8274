"""What this daemon's long-lived parts run into: which errors pass, which parts are in trouble now, how often.

An error of the operating system that ends by itself, or when somebody frees what is used up (disk, descriptors,
memory, a netlink buffer), is expected: it is a warning, and the part tries again. Any other error that a part did not
foresee is a fault of ours: one ERROR in the log, and the part is started again too.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

log = logging.getLogger(__name__)
PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.EINTR,
        errno.EAGAIN,
        errno.ETIMEDOUT,
    }
)
LONGEST = 500  # characters of one part's text: it travels with the node's description


def passes(error: BaseException) -> bool:
    """Whether `error`, or what it was raised from, is one that ends without a change of this program."""
    if isinstance(error, BaseExceptionGroup):
        return all(passes(each) for each in error.exceptions)
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno in PASSING
    return error.__cause__ is not None and passes(error.__cause__)


def log_level(error: BaseException) -> int:
    """WARNING for what passes, ERROR for a fault of ours."""
    return logging.WARNING if passes(error) else logging.ERROR


def one_line(error: BaseException) -> str:
    """The error as people shall read it, bounded."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    told = text if passes(error) and text else f"{type(error).__name__}: {text}".removesuffix(": ")
    return told if len(told) <= LONGEST else told[: LONGEST - 1] + "…"


class Faults:
    """One per daemon. `text` is what `/info` and the node's status say, empty when all is well."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._listeners: list[Callable[[], None]] = []

    def failed(self, part: str, error: BaseException) -> bool:
        """`part` failed and will try again. True if this is news: the same error again is not."""
        text = one_line(error)
        self._counts[part] += 1
        news = self._now.get(part) != text
        if news:
            self._now[part] = text
            self._tell()
        return news

    def over(self, part: str) -> None:
        """`part` does its work again."""
        if self._now.pop(part, None) is not None:
            self._tell()

    def say(self, part: str, text: str) -> None:
        """What is wrong with `part` now, though it goes on; empty: nothing. News are a warning in the log."""
        if not text:
            self.over(part)
        elif self._now.get(part) != text:
            self._now[part] = text[:LONGEST]
            log.warning(text, extra={"part": part})
            self._tell()

    @property
    def text(self) -> str:
        return "; ".join(f"{part}: {text}" for part, text in sorted(self._now.items()))

    @property
    def counts(self) -> Mapping[str, int]:
        """How often each part failed since the daemon started."""
        return dict(self._counts)

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever `text` changes, until the returned function is called."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def __iter__(self) -> Iterator[str]:
        """The parts that are in trouble now."""
        return iter(sorted(self._now))
