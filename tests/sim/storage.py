"""What a simulated member's disk holds between its lives: the real journal and the real snapshots, in tiny files."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from manager.raft.interfaces import Journal, Snapshot, Snapshots
from manager.raft.messages import Entry
from manager.raft.recovery import Recovery, force_new_cluster
from manager.raft.snapshots import SnapshotStore
from manager.raft.storage import Wal, forget
from pki.seal import DataKeys
from swarmcore.model.generation import Generation
from tests.sim.disk import SimDisk

#: So small that every run begins many segments and snapshots have several chunks.
SEGMENT_BYTES, CHUNK, TRAILING = 6000, 400, 20


class Recovered(NamedTuple):
    """What comes of a recovery."""

    generation: Generation
    snapshot: Snapshot | None
    log: list[Entry]
    term: int


class DiskStorage:
    """Crashes are kill -9 or power loss, one as likely as the other; sometimes a life begins with a new data key."""

    def __init__(self, seed: int) -> None:
        #: True while the disk is told to fail (EIO, ENOSPC).
        self.failing = False
        self._random = Random(seed)
        self._disk = SimDisk(self._random)
        self._keys = DataKeys(current=self._random.randbytes(32))

    def open(self, hook: Callable[[str], None]) -> tuple[Journal, Snapshots]:
        full = self._random.random() < 0.5

        def operation(name: str) -> None:
            hook(name)
            if not self.failing or name.endswith("done"):
                return
            if full and name in ("create", "write"):
                raise OSError(errno.ENOSPC, f"the simulated disk is full: {name}")
            if not full and "sync" in name:
                raise OSError(errno.EIO, f"the simulated disk is broken: {name}")

        self._disk.hook = operation
        if self._random.random() < 0.2:
            older = (self._keys.current, *self._keys.older)
            self._keys = DataKeys(current=self._random.randbytes(32), older=older)
        randbytes = self._random.randbytes
        return (
            Wal(self._disk, self._keys, trailing=TRAILING, segment_bytes=SEGMENT_BYTES, random=randbytes),
            SnapshotStore(self._disk, self._keys, chunk=CHUNK, random=randbytes),
        )

    def recover(self, node_id: str, recovery: Recovery) -> Recovered:
        """`--force-new-cluster` on what is here."""
        self.failing = False
        journal, snapshots = self.open(lambda operation: None)
        generation = force_new_cluster(node_id, recovery, journal, snapshots)
        found = Recovered(generation, snapshots.load(), list(journal[:]), journal.getCurrentTerm())
        self.crash()
        return found

    def crash(self) -> None:
        self._disk.crash(power=self._random.random() < 0.5)

    def forget(self) -> None:
        """The member was removed; it may join again, with another data key."""
        forget(self._disk, self._keys)
        self._keys = DataKeys(current=self._random.randbytes(32))
