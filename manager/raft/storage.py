"""The journal: raft's log, term and vote, sealed on disk, one frame and one fdatasync for all that a tick brought."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import overload

from manager.raft.interfaces import Disk, DiskFile, RaftFatal
from manager.raft.messages import KIND_MEMBERSHIP, Entry, decode_configuration
from manager.raft.promise import Promise, read_promise, write_promise
from manager.raft.sealed import Keyring, RandomBytes, Sealer, random_bytes
from manager.raft.segments import (
    MAGIC,
    RESET,
    check_names,
    commit_record,
    entry_record,
    read_newest,
    remove_given_up,
    segment_name,
    segment_names,
    term_record,
    trim_record,
    truncate_record,
)
from manager.raft.snapshots import generation_of_snapshot
from pki.seal import DataKeys
from swarmcore.model.generation import Generation

#: Entries that stay behind a snapshot, for followers that lag a little.
TRAILING = 500


class Wal:
    """Implements interfaces.Journal. Reading it raises CorruptState for anything but a torn last frame.

    Opening begins a new segment under the current data key: no key and nonce is used twice, whatever a crash left,
    and nothing stays under an older data key. The first failed write or sync is the last: what the disk then holds
    is unknown, and a second fsync may lie.
    """

    def __init__(
        self,
        disk: Disk,
        keys: DataKeys,
        *,
        trailing: int = TRAILING,
        segment_bytes: int = 8 << 20,
        random: RandomBytes = random_bytes,
    ) -> None:
        self._disk = disk
        self._keyring = Keyring(keys)
        self._trailing = trailing
        self._segment_bytes = segment_bytes
        self._random = random
        self._poison: BaseException | None = None
        self._file: DiskFile | None = None
        self._promise = read_promise(disk)
        remove_given_up(disk, self._promise.segment)
        check_names(disk)
        number, self._state = read_newest(disk, self._keyring)
        self._number = max(number, self._promise.segment)
        self._entries = self._state.entries
        if self._promise.term > self._state.term:
            self._state.term, self._state.vote = self._promise.term, self._promise.vote
        self._pending: list[bytes] = []
        #: How often it has been synced: for benchmarks and metrics.
        self.syncs = 0
        self._begin_segment()

    # ------------------------------------------------------------------------ disk
    def _begin_segment(self) -> None:
        """Restate everything in a new file; only when that has its name for good do older ones go."""
        number = self._number + 1
        name = segment_name(number)
        sealer = Sealer(self._keyring, MAGIC, number, self._random)
        file = self._disk.create(f"{name}.tmp")
        try:
            file.write(sealer.header)
            for plain in self._state.restatement():
                file.write(sealer.seal(plain))
            file.fdatasync()
            self._disk.rename(f"{name}.tmp", name)
            self._disk.fsync_dir()
            for old in segment_names(self._disk.listdir()):
                if old != name:
                    self._disk.unlink(old)
        except BaseException:
            file.close()
            raise
        if self._file is not None:
            self._file.close()
        self._file, self._sealer, self._number = file, sealer, number
        self._full = max(self._segment_bytes, 2 * sealer.size)
        self._written = (self._first, self._state.commit)

    @property
    def _first(self) -> int:
        return self._entries[0][1] if self._entries else 0

    @property
    def dirty(self) -> bool:
        return bool(self._pending)

    def sync(self) -> None:
        self._check()
        if not self._pending:
            return
        first, commit = self._written
        if first != self._first and self._entries:
            self._pending.append(trim_record(self._first))
        if commit != self._state.commit:
            self._pending.append(commit_record(self._state.commit))
        assert self._file is not None
        try:
            self._file.write(self._sealer.seal(b"".join(self._pending)))
            self._file.fdatasync()
            self._pending = []  # not before: after a failure it stays dirty, or what waits for it would be sent
            self.syncs += 1
            self._written = (self._first, self._state.commit)
            if self._sealer.size > self._full:
                self._begin_segment()
        except BaseException as error:
            self._poison = error
            raise

    def _check(self) -> None:
        if self._poison is not None:
            raise OSError(errno.EIO, f"raft's journal failed before: {self._poison}") from self._poison
        if self._file is None:
            raise OSError(errno.EBADF, "raft's journal is closed")

    def _put(self, record: bytes) -> None:
        self._check()
        self._pending.append(record)

    def close(self) -> None:
        """What was not synced was not promised."""
        if self._file is not None:
            self._file.close()
            self._file = None

    # ------------------------------------------------------------------------ log
    def add(self, command: bytes, idx: int, term: int) -> None:
        entries = self._entries
        if entries and idx != entries[-1][1] + 1:
            raise RaftFatal(f"entry {idx} cannot follow entry {entries[-1][1]} in the journal")
        command = bytes(command)
        if not entries:
            self._put(RESET)  # on disk there may be trimmed ones, which this one need not follow
        self._put(entry_record(command, idx, term))
        entries.append((command, idx, term))

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        if entryFrom < len(self._entries):
            # On disk there may be older entries, whose trim waits for a sync: "all" must mean all there, too.
            self._put(truncate_record(self._entries[entryFrom][1]) if entryFrom else RESET)
            del self._entries[entryFrom:]

    def deleteEntriesTo(self, entryTo: int) -> None:
        # Written with the next sync; the space goes back when the segment is full.
        entryTo = min(entryTo, len(self._entries)) - self._trailing
        if entryTo > 0:
            del self._entries[:entryTo]

    def reset(self, entries: Sequence[Entry]) -> None:
        kept = list(entries)
        self._put(RESET)
        self._entries.clear()
        for command, idx, term in kept:
            self.add(command, idx, term)

    def clear(self) -> None:
        raise AssertionError("PySyncObj's way to empty the journal is not used")

    @overload
    def __getitem__(self, idx: int) -> Entry: ...
    @overload
    def __getitem__(self, idx: slice) -> list[Entry]: ...
    def __getitem__(self, idx: int | slice) -> Entry | list[Entry]:
        return self._entries[idx]

    def __len__(self) -> int:
        return len(self._entries)

    # ------------------------------------------------------------------------ term, vote, commit
    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        self._state.commit = raftCommitIndex

    def getRaftCommitIndex(self) -> int:
        return self._state.commit

    def setCurrentTerm(self, currentTerm: int, votedForNodeId: str | None) -> None:
        state = self._state
        if (state.term, state.vote) != (currentTerm, votedForNodeId):
            self._put(term_record(currentTerm, votedForNodeId))
            state.term, state.vote = currentTerm, votedForNodeId

    def getCurrentTerm(self) -> int:
        return self._state.term

    def getVotedForNodeId(self) -> str | None:
        return self._state.vote

    def floor(self, generation: Generation | None) -> tuple[int, int]:
        if generation not in (None, self._promise.generation):
            return 0, 0
        return self._promise.log_term, self._promise.index

    def promise(self, generation: Generation | None) -> Promise:
        """What this node, of this generation of the swarm (None: it never had its place), goes on promising."""
        last = (self._entries[-1][2], self._entries[-1][1]) if self._entries else (0, 0)
        log_term, index = max(self.floor(generation), last)
        return Promise(
            term=self._state.term,
            vote=self._state.vote,
            log_term=log_term,
            index=index,
            segment=self._number,
            generation=self._promise.generation if generation is None else generation,
        )

    def generation(self) -> Generation | None:
        """Of the last configuration in the log, if it holds one."""
        for command, _, _ in reversed(self._entries):
            if command[:1] == bytes([KIND_MEMBERSHIP]):
                return decode_configuration(command).generation
        return None

    def onOneSecondTimer(self) -> None:
        """PySyncObj calls it; there is nothing to do that waits for a timer."""

    def _destroy(self) -> None:
        self.close()


def forget(disk: Disk, keys: DataKeys) -> None:
    """A demoted manager gives up its data and keeps its promises. Nobody else may have the journal open."""
    journal = Wal(disk, keys)
    journal.close()
    promise = journal.promise(journal.generation() or generation_of_snapshot(disk, keys))
    write_promise(disk, promise)
    remove_given_up(disk, promise.segment)
