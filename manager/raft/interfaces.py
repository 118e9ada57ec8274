"""What raft's core needs from below (a journal, a snapshot store, links to its peers, a disk and timers), and what its
parts ask of the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, overload

from msgspec import Struct

from manager.raft.fence import Fence
from manager.raft.messages import Configuration, Entry, Message, SnapshotMeta
from swarmcore.model.generation import Generation


class RaftFatal(Exception):
    """Going on would risk the log: the manager must stop, and say why."""


class CorruptState(RaftFatal):
    """Something on disk is not what was written. `repair` refetches it from the leader."""


# ------------------------------------------------------------------------------------------- disk
class DiskFile(Protocol):
    """A file opened for appending. Any OSError is final: the caller never retries (fsync may lie the second time)."""

    def write(self, data: bytes) -> None:
        """Write all of it, or raise OSError."""
        ...

    def fdatasync(self) -> None: ...

    def close(self) -> None: ...


class DiskReader(Protocol):
    """A file opened for reading; stays readable when the name is unlinked or replaced."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, size: int) -> bytes: ...

    def close(self) -> None: ...


class Disk(Protocol):
    """One directory. Names are plain file names. The simulator's loses what was not synced."""

    def listdir(self) -> list[str]: ...

    def create(self, name: str) -> DiskFile:
        """Create (or empty) the file, mode 0600, for appending. Its name is durable after `fsync_dir`.

        Who wrote to a file of this name must have closed it."""
        ...

    def open(self, name: str) -> DiskReader: ...

    def read(self, name: str) -> bytes: ...

    def rename(self, old: str, new: str) -> None: ...

    def unlink(self, name: str) -> None: ...

    def fsync_dir(self) -> None: ...


# ---------------------------------------------------------------------------------------- journal
class Journal(Protocol):
    """The log, the term and the vote. Method names are PySyncObj's (its `Journal`), for it calls them.

    Everything is in memory at once and durable after `sync`. Nothing is ever written outside `sync`, `reset` included.
    Positions are places in the list (0 is the first entry kept), not raft indexes.
    """

    @property
    def dirty(self) -> bool:
        """True while something that others may rely on (entry, truncation, term, vote) is not durable yet.

        The commit index alone does not make it dirty: it rides along with the next sync.
        """
        ...

    def sync(self) -> None:
        """Write everything pending as one frame, fdatasync once. Raises OSError; then it is poisoned for good."""
        ...

    def reset(self, entries: Sequence[Entry]) -> None:
        """Replace the whole log (a snapshot took its place); term and vote stay."""
        ...

    def add(self, command: bytes, idx: int, term: int) -> None:
        """Append; `idx` is the last one's plus one, or the journal is empty."""
        ...

    def deleteEntriesFrom(self, entryFrom: int) -> None: ...

    def deleteEntriesTo(self, entryTo: int) -> None:
        """A snapshot covers entries before this position; keep some of them (`trailing`) for slow followers."""
        ...

    def clear(self) -> None:
        """PySyncObj's; never called by the core, may raise."""
        ...

    @overload
    def __getitem__(self, idx: int) -> Entry: ...
    @overload
    def __getitem__(self, idx: slice) -> Sequence[Entry]: ...

    def __len__(self) -> int: ...

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None: ...

    def getRaftCommitIndex(self) -> int:
        """1 when never set."""
        ...

    def setCurrentTerm(self, currentTerm: int, votedForNodeId: str | None) -> None: ...

    def getCurrentTerm(self) -> int:
        """0 when never set."""
        ...

    def getVotedForNodeId(self) -> str | None: ...

    def floor(self, generation: Generation | None) -> tuple[int, int]:
        """Term and index where this node's log ended when it was demoted last; (0, 0) if it never was, or if that
        was in another generation of the swarm than this one."""
        ...

    def onOneSecondTimer(self) -> None: ...

    def _destroy(self) -> None: ...


# -------------------------------------------------------------------------------------- snapshots
class Snapshot(Struct, frozen=True, kw_only=True):
    """A snapshot and its verified plain data."""

    meta: SnapshotMeta
    data: bytes


class SnapshotSource(Protocol):
    """A snapshot being sent. Stays readable when a newer snapshot replaces the file."""

    @property
    def meta(self) -> SnapshotMeta: ...

    def read(self, offset: int, size: int) -> bytes:
        """Plain data from `offset`, at most `size` bytes, empty at the end. Raises CorruptState."""
        ...

    def close(self) -> None: ...


class SnapshotSink(Protocol):
    """A snapshot being received, beside the current one."""

    @property
    def meta(self) -> SnapshotMeta: ...

    @property
    def received(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    def finish(self) -> Snapshot | None:
        """Verify size and digest, fsync, rename, fsync the directory. None (nothing changed) if it does not match."""
        ...

    def abort(self) -> None: ...


class Snapshots(Protocol):
    """The snapshot store: one verified snapshot, replaced only by a newer one. OSError means disk trouble: fatal."""

    def load(self) -> Snapshot | None:
        """The current snapshot, verified whole. Raises CorruptState. Removes leftovers of interrupted writes."""
        ...

    def write(self, index: int, term: int, configuration: Configuration, data: bytes) -> SnapshotMeta:
        """Make a snapshot durable (file fsynced, renamed, directory fsynced). Runs in a thread.

        Does nothing when the current one covers `index` already; returns the meta of the current one.
        """
        ...

    def open(self) -> SnapshotSource | None: ...

    def receive(self, meta: SnapshotMeta) -> SnapshotSink: ...


# -------------------------------------------------------------------------------------- transport
class PeerTransport(Protocol):
    """Links to other managers. A link is used in both directions, whoever dialled it.

    That matters: a manager whose configuration is old (or that just joins) does not know the leader's address,
    yet must answer it. Who may connect is decided from the certificate (role manager, not blacklisted) and the
    generation that both name, not from the configuration, for the same reason.
    """

    def set_fence(self, fence: Fence) -> None:
        """Name its generation in the first frame of every stream, and carry nothing of a stream of another."""
        ...

    def add_peer(self, node_id: str, address: str) -> None:
        """Dial it and keep dialling. Again with another address: dial that one from now on."""
        ...

    def drop_peer(self, node_id: str) -> None:
        """Stop dialling and close its link."""
        ...

    def send(self, node_id: str, message: Message) -> bool:
        """Queue it, in order. False, and dropped, when there is no link or its buffer is full."""
        ...

    def on_message(self, callback: Callable[[str, Message], None]) -> None: ...

    def on_connection(self, callback: Callable[[str, bool], None]) -> None:
        """`callback(node_id, True)` when a link is up, False when it is gone."""
        ...


# ----------------------------------------------------------------------------------------- timers
class TimerHandle(Protocol):
    def cancel(self) -> None: ...


class Scheduler(Protocol):
    """The part of an asyncio event loop that drives raft; the simulator has its own."""

    def call_soon(self, callback: Callable[[], None], /) -> TimerHandle: ...

    def call_later(self, delay: float, callback: Callable[[], None], /) -> TimerHandle: ...


#: Runs the first in a thread and then the second, with its result or exception, where raft runs.
Background = Callable[[Callable[[], SnapshotMeta], Callable[[SnapshotMeta | BaseException], None]], None]


# ------------------------------------------------------------------------------------------- core
#: Called once, after the tick: the entry's (or read's) index, or None when nobody can tell.
Done = Callable[[int | None], None]


class Core(Protocol):
    """The whole member, as its parts see it; what they need of each other they are given one by one."""

    @property
    def last_entry(self) -> tuple[int, int]:
        """(index, term) of where the log ends."""
        ...

    @property
    def ready(self) -> bool:
        """Leads and has applied everything that earlier leaders committed."""
        ...

    def require_lead(self) -> None:
        """Raises NoLeader unless it is `ready` and keeps its lead."""
        ...

    def append(self, command: bytes, done: Done) -> None:
        """The leader's: put it at the end of the log."""
        ...

    def later(self, call: Callable[[], None]) -> None:
        """Call it when the tick is over: what fails or proposes again cannot disturb it."""
        ...
