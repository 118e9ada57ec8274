"""What a simulated member's disk holds between its lives."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

from manager.raft.interfaces import Journal, Snapshots
from tests.sim.memory import MemoryDisk, MemoryJournal, MemorySnapshots


class MemoryStorage:
    """The in-memory journal and snapshots."""

    def __init__(self, seed: int) -> None:
        self.failing = False
        self._disk = MemoryDisk()
        self._journal: MemoryJournal | None = None

    def open(self, hook: Callable[[str], None]) -> tuple[Journal, Snapshots]:
        def write(operation: str) -> None:
            hook(operation)
            if self.failing and operation.startswith("before"):
                raise OSError(errno.ENOSPC, "no space left on device")

        self._journal = MemoryJournal(self._disk, write)
        return self._journal, MemorySnapshots(self._disk, write)

    def crash(self, random: Random) -> None:
        if self._journal is not None:
            self._journal.crash(random)
