"""The leader's sending: entries to those who keep up, a snapshot to those who are too far behind."""

from __future__ import annotations

from manager.raft.config import RaftConfig
from manager.raft.gate import Gate
from manager.raft.interfaces import Journal, RaftFatal, Snapshots, SnapshotSource
from manager.raft.library import Library
from manager.raft.messages import AppendEntries, AppendReply, Entry, Heartbeat, SnapshotChunk, SnapshotReply

#: At most so many messages to one peer at a time; its answers ask for more.
_BURST = 16


class _Transfer:
    """A snapshot on its way to a peer: one piece at a time, repeated if no answer comes."""

    def __init__(self, source: SnapshotSource) -> None:
        self.source = source
        self.offset = 0
        self.repeat_at = 0.0


class Replicator:
    """Sends, and learns from the answers what each peer holds."""

    def __init__(
        self, config: RaftConfig, library: Library, gate: Gate, journal: Journal, snapshots: Snapshots
    ) -> None:
        self._config = config
        self._library = library
        self._gate = gate
        self._journal = journal
        self._snapshots = snapshots
        self.sequence = 0
        self.wanted = False
        #: The newest message that each peer answered in this term: proves that it still follows.
        self.acknowledged: dict[str, int] = {}
        self._rejections_ignored_up_to: dict[str, int] = {}
        self._transfers: dict[str, _Transfer] = {}

    def reset(self) -> None:
        self.acknowledged = {}
        self._rejections_ignored_up_to = {}
        for peer in list(self._transfers):
            self._end_transfer(peer)

    # ------------------------------------------------------------------------ sending
    def flush(self) -> None:
        if self.wanted and self._library.leading:
            self.send_all()
        self.wanted = False

    def send_all(self) -> None:
        library = self._library
        library.heartbeat_sent()
        others = library.others()
        for peer in set(self._transfers) - set(others):
            self._end_transfer(peer)
        for peer in others:
            if library.next_index(peer) > self._journal[0][1]:
                self._end_transfer(peer)
                self._send_entries(peer)
            else:
                self._send_snapshot(peer)

    def _send_entries(self, peer: str) -> None:
        library, journal = self._library, self._journal
        first, last = journal[0][1], journal[-1][1]
        for _ in range(_BURST):
            start = library.next_index(peer)
            entries = self._batch(start - first)
            self.sequence += 1
            sent = self._gate.send(
                peer,
                AppendEntries(
                    term=library.term,
                    sequence=self.sequence,
                    commit_index=library.commit_index,
                    previous_index=start - 1,
                    previous_term=journal[start - 1 - first][2],
                    entries=entries,
                ),
            )
            if not sent:
                return
            library.set_next_index(peer, start + len(entries))
            if library.next_index(peer) > last:
                return

    def _batch(self, position: int) -> list[Entry]:
        """Entries from `position` on, up to a message's size, but at least one if there is one."""
        config = self._config
        entries: list[Entry] = []
        size = 0
        for entry in self._journal[position : position + config.batch_entries]:
            size += len(entry[0])
            if entries and size > config.batch_bytes:
                break
            entries.append(entry)
        return entries

    def _send_snapshot(self, peer: str) -> None:
        library, config = self._library, self._config
        transfer = self._transfers.get(peer)
        if transfer is None:
            source = self._snapshots.open()
            if source is None:
                raise RaftFatal(f"{peer} needs entries below {self._journal[0][1]} and there is no snapshot")
            transfer = self._transfers[peer] = _Transfer(source)
        self.sequence += 1
        if library.now() < transfer.repeat_at:  # a piece is on its way; only show that we live
            self._gate.send(peer, Heartbeat(term=library.term, sequence=self.sequence))
            return
        data = transfer.source.read(transfer.offset, config.snapshot_chunk)
        meta = transfer.source.meta
        chunk = SnapshotChunk(
            term=library.term, sequence=self.sequence, snapshot=meta, offset=transfer.offset, data=data
        )
        if self._gate.send(peer, chunk):
            transfer.repeat_at = library.now() + 2 * config.election_max

    def _end_transfer(self, peer: str) -> None:
        if (transfer := self._transfers.pop(peer, None)) is not None:
            transfer.source.close()

    # ------------------------------------------------------------------------ answers
    def _heard(self, peer: str, message: AppendReply | SnapshotReply) -> bool:
        """Is this an answer of a member to this lead?"""
        library = self._library
        if message.term > library.term:
            library.step_down(message.term)
            return False
        if message.term < library.term or not library.leading or not library.is_other(peer):
            return False
        library.answered(peer)
        self.acknowledged[peer] = max(self.acknowledged.get(peer, 0), message.sequence)
        return True

    def append_reply(self, peer: str, message: AppendReply) -> None:
        if not self._heard(peer, message) or message.accepted is None:
            return
        library, last = self._library, self._journal[-1][1]
        match, next_index = library.match_index(peer), message.next_index
        if message.accepted:
            if next_index - 1 > last:
                raise RaftFatal(f"{peer} acknowledges entry {next_index - 1}, the log ends at {last}")
            transfer = self._transfers.get(peer)
            if transfer is not None and next_index > transfer.source.meta.index:
                self._end_transfer(
                    peer
                )  # it has that one; if our log begins later still, it gets a newer one
            library.set_match_index(peer, max(match, next_index - 1))
            library.set_next_index(peer, max(library.next_index(peer), next_index))
            self.wanted |= library.next_index(peer) <= last
        elif message.sequence > self._rejections_ignored_up_to.get(peer, 0):
            # Answers to what was sent before going back say nothing about what is sent from now on.
            self._rejections_ignored_up_to[peer] = self.sequence
            library.set_next_index(peer, max(match + 1, min(next_index, last + 1)))
            self.wanted = True

    def snapshot_reply(self, peer: str, message: SnapshotReply) -> None:
        if not self._heard(peer, message):
            return
        transfer = self._transfers.get(peer)
        if transfer is not None and transfer.source.meta.index == message.index:
            transfer.offset = message.received
            transfer.repeat_at = 0.0
            self.wanted = True
