"""A journal and a snapshot store in memory, with a disk that forgets what was not synced: for tests of the core."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, overload

from manager.raft.interfaces import CorruptState, Snapshot
from manager.raft.messages import Entry, SnapshotMeta

Hook = Callable[[str], None]


def no_hook(operation: str) -> None:
    """Nothing happens."""


class MemoryDisk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, ...]] = []
        self.snapshot: Snapshot | None = None


class MemoryJournal:
    """Operations become durable on sync; a crash keeps a random prefix of the others, as a torn tail does."""

    def __init__(self, disk: MemoryDisk, hook: Hook = no_hook, trailing: int = 20) -> None:
        self.disk = disk
        self.hook = hook
        self.trailing = trailing
        self.entries: list[Entry] = []
        self.term = 0
        self.vote: str | None = None
        self.commit = 1
        self.pending: list[tuple[Any, ...]] = []
        for operation in disk.operations:
            self._do(*operation)

    def _do(self, kind: str, *what: Any) -> None:
        match kind:
            case "add":
                self.entries.append(what[0])
            case "from":
                del self.entries[what[0] :]
            case "to":
                del self.entries[: what[0]]
            case "reset":
                self.entries = list(what[0])
            case "term":
                self.term, self.vote = what
            case "commit":
                self.commit = what[0]

    def _operation(self, *operation: Any) -> None:
        self.hook("journal")
        self._do(*operation)
        self.pending.append(operation)

    @property
    def dirty(self) -> bool:
        return any(operation[0] != "commit" for operation in self.pending)

    def sync(self) -> None:
        self.hook("before sync")
        self.disk.operations += self.pending
        self.pending = []
        self.hook("after sync")
        if len(self.disk.operations) > 2000:
            term, vote, commit = self.term, self.vote, self.commit
            self.disk.operations = [("reset", list(self.entries)), ("term", term, vote), ("commit", commit)]

    def crash(self, random: Random) -> None:
        self.disk.operations += self.pending[: random.randint(0, len(self.pending))]
        self.pending = []

    def add(self, command: bytes, idx: int, term: int) -> None:
        if self.entries and idx != self.entries[-1][1] + 1:
            raise AssertionError(f"entry {idx} after {self.entries[-1][1]}")
        self._operation("add", (bytes(command), idx, term))

    def deleteEntriesFrom(self, entryFrom: int) -> None:
        self._operation("from", entryFrom)

    def deleteEntriesTo(self, entryTo: int) -> None:
        if entryTo > self.trailing:
            self._operation("to", entryTo - self.trailing)

    def reset(self, entries: Sequence[Entry]) -> None:
        self._operation("reset", list(entries))

    def clear(self) -> None:
        raise AssertionError("never called")

    @overload
    def __getitem__(self, idx: int) -> Entry: ...
    @overload
    def __getitem__(self, idx: slice) -> list[Entry]: ...
    def __getitem__(self, idx: int | slice) -> Entry | list[Entry]:
        return self.entries[idx]

    def __len__(self) -> int:
        return len(self.entries)

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        if raftCommitIndex != self.commit:
            self._operation("commit", raftCommitIndex)

    def getRaftCommitIndex(self) -> int:
        return self.commit

    def setCurrentTerm(self, currentTerm: int, votedForNodeId: str | None) -> None:
        self._operation("term", currentTerm, votedForNodeId)

    def getCurrentTerm(self) -> int:
        return self.term

    def getVotedForNodeId(self) -> str | None:
        return self.vote

    def onOneSecondTimer(self) -> None:
        """PySyncObj calls it."""

    def _destroy(self) -> None:
        """PySyncObj calls it."""


class MemorySnapshots:
    """One snapshot; writing it is atomic."""

    def __init__(self, disk: MemoryDisk, hook: Hook = no_hook) -> None:
        self.disk = disk
        self.hook = hook

    def load(self) -> Snapshot | None:
        snapshot = self.disk.snapshot
        if snapshot is not None and hashlib.sha256(snapshot.data).digest() != snapshot.meta.digest:
            raise CorruptState("the snapshot is not what was written")
        return snapshot

    def write(self, index: int, term: int, members: dict[str, str], data: bytes) -> SnapshotMeta:
        if self.disk.snapshot is None or self.disk.snapshot.meta.index < index:
            digest = hashlib.sha256(data).digest()
            meta = SnapshotMeta(index=index, term=term, members=members, size=len(data), digest=digest)
            self.put(Snapshot(meta=meta, data=data))
        assert self.disk.snapshot is not None
        return self.disk.snapshot.meta

    def put(self, snapshot: Snapshot) -> None:
        self.hook("before snapshot")
        self.disk.snapshot = snapshot
        self.hook("after snapshot")

    def open(self) -> MemorySource | None:
        return None if self.disk.snapshot is None else MemorySource(self.disk.snapshot)

    def receive(self, meta: SnapshotMeta) -> MemorySink:
        return MemorySink(self, meta)


class MemorySource:
    def __init__(self, snapshot: Snapshot) -> None:
        self.meta = snapshot.meta
        self._data = snapshot.data

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def close(self) -> None:
        self._data = b""


class MemorySink:
    def __init__(self, store: MemorySnapshots, meta: SnapshotMeta) -> None:
        self._store = store
        self.meta = meta
        self._data = b""

    @property
    def received(self) -> int:
        return len(self._data)

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self) -> Snapshot | None:
        if hashlib.sha256(self._data).digest() != self.meta.digest:
            return None
        snapshot = Snapshot(meta=self.meta, data=self._data)
        self._store.put(snapshot)
        return snapshot

    def abort(self) -> None:
        self._data = b""
