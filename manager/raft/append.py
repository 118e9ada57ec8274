"""A follower's log: entries that match are kept, only a conflict truncates, nothing committed ever goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from manager.raft.interfaces import RaftFatal, SnapshotSink
from manager.raft.messages import (
    KIND_MEMBERSHIP,
    AppendEntries,
    AppendReply,
    Entry,
    Heartbeat,
    HigherTerm,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
)

if TYPE_CHECKING:
    from manager.raft.core import RaftCore


class Follower:
    """What a leader's messages do here."""

    def __init__(self, core: RaftCore) -> None:
        self._core = core
        self._sink: SnapshotSink | None = None

    def _is_leader(self, peer: str, term: int) -> bool:
        """Accept `peer` as the leader of `term`, or tell it that its time is over."""
        library = self._core.library
        if term < library.term:
            self._core.gate.send(peer, HigherTerm(term=library.term))
            return False
        if term == library.term and (library.leading or library.leader_id not in (None, peer)):
            raise RaftFatal(f"two leaders in term {term}: {peer} and {library.leader_id}")
        library.follow(peer, term)
        self._core.votes.heard_leader()
        return True

    def _reply(self, peer: str, sequence: int, accepted: bool | None, next_index: int = 0) -> None:
        term = self._core.library.term
        self._core.gate.send(
            peer, AppendReply(term=term, sequence=sequence, accepted=accepted, next_index=next_index)
        )

    def heartbeat(self, peer: str, message: Heartbeat) -> None:
        if self._is_leader(peer, message.term):
            self._reply(peer, message.sequence, None)

    # ------------------------------------------------------------------------ entries
    def append(self, peer: str, message: AppendEntries) -> None:
        if not self._is_leader(peer, message.term):
            return
        library, journal = self._core.library, self._core.journal
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
        journal, commit = self._core.journal, self._core.library.commit_index
        if index <= commit:
            raise RaftFatal(f"the leader's log conflicts with the committed entry {index}")
        first = journal[0][1]
        term = journal[index - first][2]
        while index - 1 > max(first, commit) and journal[index - 1 - first][2] == term:
            index -= 1
        return index

    def _store(self, entries: list[Entry]) -> None:
        journal = self._core.journal
        first = journal[0][1]
        for command, index, term in entries:
            if index <= journal[-1][1]:
                if journal[index - first][2] == term:
                    continue
                self._truncate(index)
            journal.add(command, index, term)
            if command[0] == KIND_MEMBERSHIP:
                self._core.membership.appended(index, command)

    def _truncate(self, index: int) -> None:
        if index <= self._core.library.commit_index:
            raise RaftFatal(f"the leader's log would truncate the committed entry {index}")
        self._core.journal.deleteEntriesFrom(index - self._core.journal[0][1])
        self._core.membership.truncated(index)

    # ------------------------------------------------------------------------ snapshots
    def chunk(self, peer: str, message: SnapshotChunk) -> None:
        if not self._is_leader(peer, message.term):
            return
        meta = message.snapshot
        if meta.index <= self._core.library.commit_index:  # we hold all of it: never rewind
            self._drop_sink()
            self._reply(peer, message.sequence, True, meta.index + 1)
            return
        if self._sink is None or self._sink.meta != meta:
            self._drop_sink()
            self._sink = self._core.snapshots.receive(meta)
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
        term = self._core.library.term
        self._core.gate.send(
            peer, SnapshotReply(term=term, sequence=message.sequence, index=meta.index, received=received)
        )

    def _drop_sink(self) -> None:
        if self._sink is not None:
            self._sink.abort()
            self._sink = None

    def _install(self, meta: SnapshotMeta, data: bytes) -> None:
        core = self._core
        core.machine.restore(data, meta.index)
        core.align_journal(meta)
        core.library.set_applied_index(meta.index)
        core.library.set_commit_index(meta.index)
        core.membership.load(meta.index, meta.configuration)
