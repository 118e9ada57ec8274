"""A follower's log: entries that match are kept, only a conflict truncates, nothing committed ever goes."""

from __future__ import annotations

from manager.raft.gate import Gate
from manager.raft.interfaces import CorruptState, Journal, RaftFatal, Snapshots, SnapshotSink
from manager.raft.library import Library
from manager.raft.membership import Membership
from manager.raft.messages import (
    KIND_MEMBERSHIP,
    KIND_NOOP,
    AppendEntries,
    AppendReply,
    Entry,
    Heartbeat,
    HigherTerm,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
)
from manager.raft.proposer import StateMachine
from manager.raft.votes import Votes


class Follower:
    """What a leader's messages do here."""

    def __init__(
        self,
        library: Library,
        gate: Gate,
        journal: Journal,
        snapshots: Snapshots,
        machine: StateMachine,
        membership: Membership,
        votes: Votes,
    ) -> None:
        self._library = library
        self._gate = gate
        self._journal = journal
        self._snapshots = snapshots
        self._machine = machine
        self._membership = membership
        self._votes = votes
        self._sink: SnapshotSink | None = None

    def _is_leader(self, peer: str, term: int) -> bool:
        """Accept `peer` as the leader of `term`, or tell it that its time is over."""
        library = self._library
        if term < library.term:
            self._gate.send(peer, HigherTerm(term=library.term))
            return False
        if term == library.term and (library.leading or library.leader_id not in (None, peer)):
            raise RaftFatal(f"two leaders in term {term}: {peer} and {library.leader_id}")
        library.follow(peer, term)
        self._votes.heard_leader()
        return True

    def _reply(self, peer: str, sequence: int, accepted: bool | None, next_index: int = 0) -> None:
        term = self._library.term
        self._gate.send(
            peer, AppendReply(term=term, sequence=sequence, accepted=accepted, next_index=next_index)
        )

    def heartbeat(self, peer: str, message: Heartbeat) -> None:
        if self._is_leader(peer, message.term):
            self._reply(peer, message.sequence, None)

    # ------------------------------------------------------------------------ entries
    def append(self, peer: str, message: AppendEntries) -> None:
        if not self._is_leader(peer, message.term):
            return
        library, journal = self._library, self._journal
        first, last = journal[0][1], journal[-1][1]
        entries: list[Entry] = message.entries
        previous, previous_term = message.previous_index, message.previous_term
        match = previous + len(entries)
        if previous < first:  # what lies below our log is committed, hence identical
            if match <= first:
                self._reply(peer, message.sequence, True, first + 1)
                return
            entries = [entry for entry in entries if entry[1] > first]
            previous, previous_term = first, journal[0][2]
        if previous > last:
            self._reply(peer, message.sequence, False, last + 1)
            return
        if journal[previous - first][2] != previous_term:
            self._reply(peer, message.sequence, False, self._conflict_start(previous))
            return
        self._store(entries)
        # Only up to here is our log known to be the leader's.
        commit = min(message.commit_index, match)
        if commit > library.commit_index:
            library.set_commit_index(commit)
        self._reply(peer, message.sequence, True, match + 1)

    def _conflict_start(self, index: int) -> int:
        """Where the leader should try next: the start of our whole conflicting term, in one step."""
        journal, commit = self._journal, self._library.commit_index
        if index <= commit:
            raise RaftFatal(f"the leader's log conflicts with the committed entry {index}")
        first = journal[0][1]
        term = journal[index - first][2]
        while index - 1 > max(first, commit) and journal[index - 1 - first][2] == term:
            index -= 1
        return index

    def _store(self, entries: list[Entry]) -> None:
        journal = self._journal
        first = journal[0][1]
        for command, index, term in entries:
            if index <= journal[-1][1]:
                if journal[index - first][2] == term:
                    continue
                self._truncate(index)
            journal.add(command, index, term)
            if command[0] == KIND_MEMBERSHIP:
                self._membership.appended(index, command)

    def _truncate(self, index: int) -> None:
        if index <= self._library.commit_index:
            raise RaftFatal(f"the leader's log would truncate the committed entry {index}")
        self._journal.deleteEntriesFrom(index - self._journal[0][1])
        self._membership.truncated(index)

    # ------------------------------------------------------------------------ snapshots
    def chunk(self, peer: str, message: SnapshotChunk) -> None:
        if not self._is_leader(peer, message.term):
            return
        meta = message.snapshot
        if meta.index <= self._library.commit_index:  # we hold all of it: never rewind
            self._drop_sink()
            self._reply(peer, message.sequence, True, meta.index + 1)
            return
        if self._sink is None or self._sink.meta != meta:
            self._drop_sink()
            self._sink = self._snapshots.receive(meta)
        if message.offset == self._sink.received:
            self._sink.write(message.data)
        if self._sink.received >= meta.size:
            sink, self._sink = self._sink, None
            snapshot = sink.finish()
            if snapshot is not None:
                self._install(snapshot.meta, snapshot.data)
                self._reply(peer, message.sequence, True, meta.index + 1)
                return
        received = 0 if self._sink is None else self._sink.received
        term = self._library.term
        self._gate.send(
            peer, SnapshotReply(term=term, sequence=message.sequence, index=meta.index, received=received)
        )

    def _drop_sink(self) -> None:
        if self._sink is not None:
            self._sink.abort()
            self._sink = None

    def _install(self, meta: SnapshotMeta, data: bytes) -> None:
        self._machine.restore(data, meta.index)
        align(self._journal, meta)
        self._library.set_applied_index(meta.index)
        self._library.set_commit_index(meta.index)
        self._membership.load(meta.index, meta.configuration)


def align(journal: Journal, meta: SnapshotMeta) -> None:
    """Keep the log if it holds the snapshot's last entry (its tail is newer), else begin anew after it."""
    position = meta.index - journal[0][1]
    if 0 <= position < len(journal) and journal[position][2] == meta.term:
        return
    if position < 0:
        raise CorruptState(f"the journal begins at {journal[0][1]}, after the snapshot of {meta.index}")
    # The entry itself is in the snapshot; its place is kept, for what comes next is compared with its term.
    journal.reset([(bytes([KIND_NOOP]), meta.index, meta.term)])
