"""Linearizable reads: the read index, confirmed by a round of answers newer than the question."""

from __future__ import annotations

from msgspec import Struct

from manager.raft.interfaces import Core, Done
from manager.raft.library import Library
from manager.raft.replication import Replicator


class _Read(Struct, frozen=True):
    index: int
    needed_sequence: int
    done: Done


class Reads:
    """Reads that wait for a majority to confirm that this leader still leads."""

    def __init__(self, core: Core, library: Library, replicator: Replicator) -> None:
        self._core = core
        self._library = library
        self._replicator = replicator
        self._waiting: list[_Read] = []

    def start(self, done: Done) -> None:
        """`done` gets the index that a reader must have applied, or None: ask again."""
        self._core.require_lead()
        replicator = self._replicator
        # Only answers to messages sent from now on prove that nobody else led when the question came.
        self._waiting.append(_Read(self._library.commit_index, replicator.sequence + 1, done))
        replicator.wanted = True

    def serve(self) -> None:
        still: list[_Read] = []
        for read in self._waiting:
            if self.confirmed(read.needed_sequence) and self._library.applied_index >= read.index:
                self._finish(read, read.index)
            else:
                still.append(read)
        self._waiting = still

    def confirmed(self, sequence: int) -> bool:
        library, acknowledged = self._library, self._replicator.acknowledged
        return library.quorum(sum(1 for peer in library.others() if acknowledged.get(peer, 0) >= sequence))

    def lost_lead(self) -> None:
        waiting, self._waiting = self._waiting, []
        for read in waiting:
            self._finish(read, None)

    def _finish(self, read: _Read, index: int | None) -> None:
        self._core.later(lambda: read.done(index))
