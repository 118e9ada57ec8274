"""One raft member as a pure machine: messages and time in, messages out, nothing asynchronous, no threads.

What it promises: an entry whose `Done` gets an index is on a majority's disks and applied here, and no crash of a
minority, no lost, late or repeated message and no pause can take it away. Any exception out of it is final.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from manager.raft.acquaintance import Acquaintance
from manager.raft.append import Follower, align
from manager.raft.compaction import Compactor
from manager.raft.config import RaftConfig
from manager.raft.gate import Gate
from manager.raft.handover import Handover
from manager.raft.interfaces import (
    Background,
    CorruptState,
    Done,
    Journal,
    PeerTransport,
    RaftFatal,
    Snapshots,
)
from manager.raft.library import Library, Role
from manager.raft.membership import Membership
from manager.raft.messages import (
    KIND_MEMBERSHIP,
    KIND_NOOP,
    KIND_REGULAR,
    AppendEntries,
    AppendReply,
    Configuration,
    Heartbeat,
    HigherTerm,
    Introduction,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    Unreachable,
    VoteReply,
    WhoAreYou,
    encode_members,
)
from manager.raft.proposer import StateMachine
from manager.raft.reads import Reads
from manager.raft.replication import Replicator
from manager.raft.votes import Votes
from swarmcore.errors import NoLeader


class RaftCore:
    """The parts, wired. See each part's module."""

    def __init__(
        self,
        node_id: str,
        machine: StateMachine,
        journal: Journal,
        snapshots: Snapshots,
        transport: PeerTransport,
        *,
        config: RaftConfig,
        random: Random,
        clock: Callable[[], float],
        background: Background,
        bootstrap: Mapping[str, str] | None = None,
    ) -> None:
        self.node_id = node_id
        self.machine = machine
        self.journal = journal
        self.snapshots = snapshots
        self._pending: dict[int, tuple[int, Done]] = {}
        self._later: list[Callable[[], None]] = []
        self._wire(transport, config, Library(node_id, config, random, journal, clock, self))
        self.library.compact_with(Compactor(machine, snapshots, self.membership, background))
        self._handlers = self._routes()
        self._start(bootstrap)

    def _wire(self, transport: PeerTransport, config: RaftConfig, library: Library) -> None:
        """Each part is given those that it needs: the order is that of the files, from the bottom up."""
        journal, snapshots = self.journal, self.snapshots
        self.library = library
        self.gate = gate = Gate(journal, transport)
        self.membership = membership = Membership(self.node_id, self, library, journal, transport)
        self.acquaintance = Acquaintance(self.node_id, library, gate, membership)
        membership.on_left = self.acquaintance.left
        self.replicator = Replicator(config, library, gate, journal, snapshots)
        self.votes = Votes(self, config, library, gate, journal, membership, self.acquaintance)
        self.handover = Handover(self.node_id, self, config, library, gate, self.replicator)
        self.reads = Reads(self, library, self.replicator)
        self.follower = Follower(library, gate, journal, snapshots, self.machine, membership, self.votes)

    def _routes(self) -> dict[type[Any], Callable[[str, Any], None]]:
        return {
            AppendEntries: self.follower.append,
            Heartbeat: self.follower.heartbeat,
            SnapshotChunk: self.follower.chunk,
            AppendReply: self.replicator.append_reply,
            SnapshotReply: self.replicator.snapshot_reply,
            RequestVote: self.votes.vote,
            VoteReply: self.votes.vote_reply,
            PreVote: self.votes.pre_vote,
            PreVoteReply: self.votes.pre_vote_reply,
            HigherTerm: self.votes.higher_term,
            TimeoutNow: self.votes.timeout_now,
            WhoAreYou: self.acquaintance.who_are_you,
            Introduction: self.acquaintance.introduction,
            Unreachable: self.handover.complaint,
        }

    def _start(self, bootstrap: Mapping[str, str] | None) -> None:
        """Take up what is on disk; a new member begins with an empty log, a new swarm with its first members."""
        journal, snapshot = self.journal, self.snapshots.load()
        if len(journal) == 0:
            journal.add(bytes([KIND_NOOP]), 1, 0)
            if bootstrap is not None and snapshot is None:
                journal.add(encode_members(dict(bootstrap)), 2, 0)
        if snapshot is not None:
            self.machine.restore(snapshot.data, snapshot.meta.index)
            align(journal, snapshot.meta)
        elif journal[0][1] != 1:
            raise CorruptState(f"the journal begins at entry {journal[0][1]} and there is no snapshot")
        self.library.restore(1 if snapshot is None else snapshot.meta.index)
        if snapshot is None:
            self.membership.load(0, Configuration(members={}))
        else:
            self.membership.load(snapshot.meta.index, snapshot.meta.configuration)
        journal.sync()
        if set(self.membership.members) == {self.node_id}:
            self.library.campaign_at_next_tick()  # there is nobody whose silence would have to be waited for

    # ------------------------------------------------------------------------ what happens
    def receive(self, peer: str, message: Message) -> None:
        if self.acquaintance.heard(peer, message):
            self._handlers[type(message)](peer, message)

    def tick(self) -> None:
        library = self.library
        self.replicator.flush()  # the followers' disks work while ours does
        self.sync()
        commit = library.commit_index
        self.votes.before_tick()
        library.tick()
        self.reads.serve()
        self.handover.step()
        if library.leading and library.commit_index > commit:
            self.replicator.wanted = True  # followers apply now and not a heartbeat later
        self.replicator.flush()
        self.gate.release()
        waiting, self._later = self._later, []
        for call in waiting:
            call()

    def sync(self) -> None:
        """A leader counts itself in the majority only for what it has synced: the commit rule runs after this."""
        if self.journal.dirty:
            self.journal.sync()

    def next_deadline(self) -> float:
        """Seconds until `tick` must be called even if nothing happens."""
        library = self.library
        due = library.heartbeat_due() if library.leading else library.election_deadline
        return due - library.now()

    def later(self, call: Callable[[], None]) -> None:
        """Callbacks run after the tick: one that fails or proposes again cannot disturb it."""
        self._later.append(call)

    # ------------------------------------------------------------------------ what is asked for
    @property
    def last_entry(self) -> tuple[int, int]:
        """(index, term)"""
        last = self.journal[-1]
        return last[1], last[2]

    @property
    def ready(self) -> bool:
        """Leads and has applied everything that earlier leaders committed."""
        noop = self.library.noop_index
        return self.library.leading and noop is not None and self.library.applied_index >= noop

    def require_lead(self) -> None:
        if self.handover.under_way:
            raise NoLeader("this manager is handing over its lead", "try again in a moment")
        if not self.ready:
            leader = self.library.leader_id
            known = (
                "no manager leads right now" if leader in (None, self.node_id) else f"manager {leader} leads"
            )
            raise NoLeader(f"this manager does not lead: {known}")

    def propose(self, data: bytes, done: Done) -> None:
        self.require_lead()
        self.append(bytes([KIND_REGULAR]) + data, done)

    def append(self, command: bytes, done: Done) -> None:
        index, term = self.last_entry[0] + 1, self.library.term
        self.journal.add(command, index, term)
        self._pending[index] = (term, done)
        if command[0] == KIND_MEMBERSHIP:
            self.membership.appended(index, command)
        self.replicator.wanted = True

    def abandon(self) -> None:
        """Nobody can tell any more what became of what waits: say so, now."""
        pending, self._pending = self._pending, {}
        for _, done in pending.values():
            self._finish(done, None)
        self.reads.lost_lead()
        self.handover.lost_lead()

    def run_callbacks(self) -> None:
        """After a fatal error there is no tick left to do it."""
        waiting, self._later = self._later, []
        for call in waiting:
            call()

    def _finish(self, done: Done, index: int | None) -> None:
        self.later(lambda: done(index))

    # ------------------------------------------------------------------------ the library's hooks
    def apply(self, command: bytes, index: int) -> None:
        if command[0] == KIND_REGULAR:
            try:
                self.machine.apply(command[1:], index)
            except Exception as error:
                raise RaftFatal(f"the state machine failed at entry {index}") from error
        term, done = self._pending.pop(index, (0, None))
        if done is not None:
            same = self.journal[index - self.journal[0][1]][2] == term
            self._finish(done, index if same else None)

    def send_entries(self) -> None:
        self.replicator.send_all()

    def may_campaign(self) -> bool:
        return self.votes.may_campaign

    def request_vote(self, peer: str) -> None:
        self.votes.request_vote(peer)

    def before_leading(self) -> None:
        self.replicator.reset()

    def after_leading(self) -> None:
        self.journal.sync()  # alone in the swarm it counts itself in this very tick

    def role_changed(self, old: Role, new: Role) -> None:
        if old is Role.LEADER:
            self.abandon()
            self.replicator.reset()
