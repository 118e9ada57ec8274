"""Planted faults: each takes one protection away. A simulation that does not notice them proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from unittest import mock

import msgspec
from msgspec import Struct

from manager.raft import storage
from manager.raft.acquaintance import Acquaintance
from manager.raft.append import Follower
from manager.raft.compaction import Compactor
from manager.raft.core import RaftCore
from manager.raft.fence import Fence
from manager.raft.gate import Gate
from manager.raft.handover import Handover
from manager.raft.membership import Membership
from manager.raft.messages import AppendReply, Configuration, Message, PreVote, RequestVote, SnapshotMeta
from manager.raft.promise import Promise
from manager.raft.reads import Reads
from manager.raft.replication import Replicator
from manager.raft.storage import Wal
from manager.raft.votes import Votes
from tests.sim.disk import SimDisk, SimFile, no_hook

Fault = AbstractContextManager[object]


def forgotten_vote() -> Fault:
    """A restart forgets whom it voted for."""
    return mock.patch.object(Wal, "getVotedForNodeId", lambda self: None)


def stale_acknowledgement() -> Fault:
    """An acknowledgement of an earlier term counts."""
    original = Replicator.append_reply

    def append_reply(self: Replicator, peer: str, message: AppendReply) -> None:
        term = max(message.term, self._library.term)
        last = self._journal[-1][1]
        original(
            self,
            peer,
            msgspec.structs.replace(message, term=term, next_index=min(message.next_index, last + 1)),
        )

    return mock.patch.object(Replicator, "append_reply", append_reply)


def local_reads() -> Fault:
    """A leader answers reads without asking anybody whether it still leads."""
    return mock.patch.object(Reads, "confirmed", lambda self, sequence: True)


def several_changes_at_once() -> Fault:
    """The next configuration does not wait for the last one."""
    return mock.patch.object(Membership, "can_change", lambda self: True)


def leader_counts_itself_before_its_sync() -> Fault:
    """A leader's commit rule does not wait for its own disk."""
    original = Wal.sync

    def tick_sync(self: RaftCore) -> None:
        if not self.library.leading:
            original(self.journal)  # type: ignore[arg-type]

    def release(self: Gate) -> None:
        held, self._held = self._held, []
        for peer, message in held:
            self._transport.send(peer, message)

    @contextmanager
    def both() -> Iterator[None]:
        with mock.patch.object(RaftCore, "sync", tick_sync), mock.patch.object(Gate, "release", release):
            yield

    return both()


def no_gate() -> Fault:
    """Votes and acknowledgements leave before they are durable, and the disk is slow."""

    def send(self: Gate, peer: str, message: Message) -> bool:
        return self._transport.send(peer, message)

    original = Wal.sync
    turn = iter(range(1 << 62))

    def lazy(self: Wal) -> None:
        if next(turn) % 10 == 0:
            original(self)

    @contextmanager
    def both() -> Iterator[None]:
        with mock.patch.object(Gate, "send", send), mock.patch.object(Wal, "sync", lazy):
            yield

    return both()


def no_election_restriction() -> Fault:
    """Votes go to members whose log is behind."""

    def anybody(self: Votes, message: RequestVote | PreVote) -> bool:
        return True

    return mock.patch.object(Votes, "up_to_date", anybody)


def truncates_what_matches() -> Fault:
    """A repeated message cuts off what came after it, and old rejections cause repetitions (PySyncObj's D1)."""
    original, original_reply = Follower._store, Replicator.append_reply

    def store(self: Follower, entries: list[tuple[bytes, int, int]]) -> None:
        journal = self._journal
        if entries and journal[0][1] < entries[0][1] <= journal[-1][1]:
            journal.deleteEntriesFrom(entries[0][1] - journal[0][1])
            self._membership.truncated(entries[0][1])
        original(self, entries)

    def append_reply(self: Replicator, peer: str, message: AppendReply) -> None:
        self._rejections_ignored_up_to = {}
        original_reply(self, peer, message)

    @contextmanager
    def both() -> Iterator[None]:
        acknowledges = mock.patch.object(Replicator, "append_reply", append_reply)
        with mock.patch.object(Follower, "_store", store), acknowledges:
            yield

    return both()


def commits_earlier_terms_by_counting() -> Fault:
    """A follower takes the leader's commit index for its own unverified tail."""
    original = Follower.append

    def append(self: Follower, peer: str, message: object) -> None:
        library = self._library
        commit = min(message.commit_index, self._journal[-1][1])  # type: ignore[attr-defined]
        if message.term >= library.term and commit > library.commit_index:  # type: ignore[attr-defined]
            library.set_commit_index(commit)
        original(self, peer, message)  # type: ignore[arg-type]

    return mock.patch.object(Follower, "append", append)


def early_service() -> Fault:
    """A leader serves before an entry of its own term is committed and applied."""
    return mock.patch.object(RaftCore, "ready", property(lambda self: self.library.leading))


def no_sync() -> Fault:
    """Writes are left to the kernel's cache."""
    return mock.patch.object(SimFile, "fdatasync", lambda self: None)


def no_directory_sync() -> Fault:
    """Files are synced, their names are not."""
    return mock.patch.object(SimDisk, "fsync_dir", lambda self: None)


def retried_sync() -> Fault:
    """A failed sync is tried again, and believed."""
    original = SimFile.fdatasync

    def fdatasync(self: SimFile) -> None:
        for _ in range(3):
            try:
                original(self)
                return
            except OSError:
                self.disk.hook = no_hook

    return mock.patch.object(SimFile, "fdatasync", fdatasync)


def trimmed_before_the_snapshot() -> Fault:
    """The journal is cut while the snapshot is still being written."""

    def check(self: Compactor) -> tuple[int, int | None]:
        running, self._running = self._running, None
        return (0, None) if running is None else (2, running)

    return mock.patch.object(Compactor, "checkSerializing", check)


def forgotten_promise() -> Fault:
    """Who was demoted and is promoted again has no memory of what it had seen and promised."""
    return mock.patch.object(storage, "read_promise", lambda disk: Promise())


def reads_by_the_clock() -> Fault:
    """A leader that heard a majority within an election time-out, by its own clock, answers reads at once."""

    def confirmed(self: Reads, sequence: int) -> bool:
        library, config = self._library, self._replicator._config
        now = library.now()
        fresh = [p for p in library.others() if now - library.answered_at(p) < config.election_min]
        return library.quorum(len(fresh))

    return mock.patch.object(Reads, "confirmed", confirmed)


def complaints_unheard() -> Fault:
    """A leader to which nobody can make a new connection leads on."""
    return mock.patch.object(Handover, "complaint", lambda self, peer, message: None)


def no_generation_in_the_frame() -> Fault:
    """Connections are taken whatever generation of the swarm the other end is of."""
    return mock.patch.object(Fence, "frame", lambda self: None)


def generation_not_in_the_snapshot() -> Fault:
    """Who starts from a snapshot takes itself for a member of the swarm as it was before."""
    forgetful = property(lambda self: Configuration(members=self.members))
    return mock.patch.object(SnapshotMeta, "configuration", forgetful)


def membership_not_asked() -> Fault:
    """Appends, votes and snapshots are taken from anybody."""
    return mock.patch.object(Acquaintance, "takes_from", lambda self, peer: True)


class Mutant(Struct, frozen=True):
    """A planted fault and the plan that shows it soonest (None: all in turn)."""

    plant: Callable[[], Fault]
    plan: str | None = None


MUTANTS: dict[str, Mutant] = {
    fault.__name__: Mutant(fault, plan)
    for fault, plan in (
        (forgotten_vote, "elections"),
        (stale_acknowledgement, "late"),
        (local_reads, "reads"),
        (several_changes_at_once, "divided"),
        (leader_counts_itself_before_its_sync, "storm"),
        (no_gate, "storm"),
        (no_election_restriction, "storm"),
        (truncates_what_matches, "three"),
        (commits_earlier_terms_by_counting, "storm"),
        (early_service, "elections"),
        (no_sync, "storm"),
        (no_directory_sync, "storm"),
        (retried_sync, "storm"),
        (trimmed_before_the_snapshot, "five"),
        (forgotten_promise, "divided"),
        (reads_by_the_clock, "clocks"),
        (complaints_unheard, "clocks"),
        (no_generation_in_the_frame, "recovery"),
        (generation_not_in_the_snapshot, "recovery"),
        (membership_not_asked, "recovery-unfenced"),
    )
}
