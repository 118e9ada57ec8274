"""Transactions that wait at the same moment share one raft entry, and each still gets its own answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from manager.store.tx import ATTEMPTS, Overtaken, Tx


class Job:
    """One transaction given as a function, and what came of it."""

    def __init__(self, change: Callable[[Tx], Any]) -> None:
        self.change = change
        self.attempts = 0
        self.result: Any = None
        self.error: BaseException | None = None


class Group:
    """The jobs of one entry. Law: as if they had committed one after the other, in this order.

    A job that writes what an earlier one of the same entry wrote would pass its version check wrongly, for the
    version changes with the commit: it is left for the next entry. Answers, errors too, count only once the entry
    is committed, for they may rest on what earlier jobs wrote.
    """

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.jobs: list[Job] = []

    def take(self, waiting: deque[Job]) -> None:
        """Run jobs from the front as long as they fit."""
        while waiting:
            job, mark = waiting[0], self.tx.mark()
            job.result = job.error = None
            try:
                job.result = job.change(self.tx)
                if mark and (self.tx.rewrites(mark) or not self.tx.fits):
                    self.tx.undo_to(mark)
                    return
                self.tx.check()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this job's answer
                self.tx.undo_to(mark)
                job.error = error
            self.jobs.append(waiting.popleft())

    def overtaken(self, waiting: deque[Job], error: Overtaken) -> None:
        """Another commit came between: all run again, but not for ever."""
        for job in reversed(self.jobs):
            job.attempts += 1
            if job.attempts < ATTEMPTS:
                waiting.appendleft(job)
            else:
                job.error = error

    def fail(self, error: BaseException) -> None:
        """Nobody of the group can be told that its change is there."""
        for job in self.jobs:
            job.error = error


def answer(job: Job) -> Any:
    if job.error is not None:
        raise job.error
    return job.result
