"""Planted faults: each takes one protection away. A simulation that does not notice them proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import msgspec

from manager.raft.append import Follower
from manager.raft.core import RaftCore
from manager.raft.gate import Gate
from manager.raft.membership import Membership
from manager.raft.messages import AppendReply, Message, PreVote, RequestVote
from manager.raft.reads import Reads
from manager.raft.replication import Replicator
from manager.raft.votes import Votes
from tests.sim.memory import MemoryJournal


def forgotten_vote() -> object:
    """A restart forgets whom it voted for."""
    return mock.patch.object(MemoryJournal, "getVotedForNodeId", lambda self: None)


def stale_acknowledgement() -> object:
    """An acknowledgement of an earlier term counts."""
    original = Replicator.append_reply

    def append_reply(self: Replicator, peer: str, message: AppendReply) -> None:
        term = max(message.term, self._core.library.term)
        last = self._core.journal[-1][1]
        original(
            self,
            peer,
            msgspec.structs.replace(message, term=term, next_index=min(message.next_index, last + 1)),
        )

    return mock.patch.object(Replicator, "append_reply", append_reply)


def local_reads() -> object:
    """A leader answers reads without asking anybody whether it still leads."""
    return mock.patch.object(Reads, "confirmed", lambda self, sequence: True)


def several_changes_at_once() -> object:
    """The next configuration does not wait for the last one."""
    return mock.patch.object(Membership, "can_change", lambda self: True)


def leader_counts_itself_before_its_sync() -> object:
    """A leader's commit rule does not wait for its own disk."""
    original = MemoryJournal.sync

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


def no_gate() -> object:
    """Votes and acknowledgements leave before they are durable, and the disk is slow."""

    def send(self: Gate, peer: str, message: Message) -> bool:
        return self._transport.send(peer, message)

    original = MemoryJournal.sync
    turn = iter(range(1 << 62))

    def lazy(self: MemoryJournal) -> None:
        if next(turn) % 10 == 0:
            original(self)

    @contextmanager
    def both() -> Iterator[None]:
        with mock.patch.object(Gate, "send", send), mock.patch.object(MemoryJournal, "sync", lazy):
            yield

    return both()


def no_election_restriction() -> object:
    """Votes go to members whose log is behind."""

    def anybody(self: Votes, message: RequestVote | PreVote) -> bool:
        return True

    return mock.patch.object(Votes, "up_to_date", anybody)


def truncates_what_matches() -> object:
    """A repeated message cuts off what came after it, and old rejections cause repetitions (PySyncObj's D1)."""
    original, original_reply = Follower._store, Replicator.append_reply

    def store(self: Follower, entries: list[tuple[bytes, int, int]]) -> None:
        journal = self._core.journal
        if entries and journal[0][1] < entries[0][1] <= journal[-1][1]:
            journal.deleteEntriesFrom(entries[0][1] - journal[0][1])
            self._core.membership.truncated(entries[0][1])
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


def commits_earlier_terms_by_counting() -> object:
    """A follower takes the leader's commit index for its own unverified tail."""
    original = Follower.append

    def append(self: Follower, peer: str, message: object) -> None:
        library = self._core.library
        commit = min(message.commit_index, self._core.last_entry[0])  # type: ignore[attr-defined]
        if message.term >= library.term and commit > library.commit_index:  # type: ignore[attr-defined]
            library.set_commit_index(commit)
        original(self, peer, message)  # type: ignore[arg-type]

    return mock.patch.object(Follower, "append", append)


def early_service() -> object:
    """A leader serves before an entry of its own term is committed and applied."""
    return mock.patch.object(RaftCore, "ready", property(lambda self: self.library.leading))


MUTANTS: dict[str, Callable[[], object]] = {
    mutant.__name__: mutant
    for mutant in (
        forgotten_vote,
        stale_acknowledgement,
        local_reads,
        several_changes_at_once,
        leader_counts_itself_before_its_sync,
        no_gate,
        no_election_restriction,
        truncates_what_matches,
        commits_earlier_terms_by_counting,
        early_service,
    )
}
