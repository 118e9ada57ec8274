"""PySyncObj 0.3.17 under names of ours: the only file that knows its private parts, checked when it is imported.

What stays PySyncObj's: when to campaign, becoming candidate and leader, the commit rule, the quorum check, applying
in order, when to compact. What is taken away from it (see docs/design/raft.md): messages, membership, the journal,
snapshots, sockets and threads. An upgrade that renames anything used here fails at import, loudly.
"""

from __future__ import annotations

import _socket
import socket
import zlib
from collections.abc import Callable
from enum import IntEnum
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

import pysyncobj.syncobj as syncobj
from pysyncobj import SyncObjConf
from pysyncobj.node import Node
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from manager.raft.config import RaftConfig
from manager.raft.interfaces import Journal

SUPPORTED_VERSION = "0.3.17"

# Importing PySyncObj puts a Windows version of inet_ntop into `socket`, on every system (its win_inet_pton.py).
# Whoever writes an address as text in this process would fail with it.
socket.inet_ntop = _socket.inet_ntop

#: PySyncObj's private methods that are overridden or called here, without the `_SyncObj__` in front.
METHODS = (
    "sendAppendEntries",  # ours: manager/raft/replication.py
    "doApplyCommand",  # ours: exactly once, never unpickles
    "doChangeCluster",  # ours: manager/raft/membership.py; the library's is switched off
    "onBecomeLeader",  # extended
    "setState",
    "setCurrentTerm",
    "generateRaftTimeout",  # ours: from the injected random
    "connectedToAnyone",  # ours: asked when the deadline passed, and pre-vote decides
    "updateClusterConfiguration",
)
#: PySyncObj's private attributes that are read or set here.
ATTRIBUTES = (
    "raftState",
    "raftCurrentTerm",
    "votedForNodeId",
    "votesCount",
    "raftLeader",
    "raftElectionDeadline",
    "raftLog",
    "raftCommitIndex",
    "raftLastApplied",
    "raftNextIndex",
    "raftMatchIndex",
    "lastResponseTime",
    "newAppendEntriesTime",
    "noopIDx",
    "otherNodes",
    "serializer",
    "leaderCommitIndex",
    "conf",
)

if VERSION != SUPPORTED_VERSION:
    raise ImportError(
        f"pysyncobj {VERSION} is not {SUPPORTED_VERSION}: its private parts must be compared first"
    )
if missing := [name for name in METHODS if f"_SyncObj__{name}" not in vars(syncobj.SyncObj)]:
    raise ImportError(f"pysyncobj {VERSION} lacks {missing}")

if TYPE_CHECKING:

    class SyncObj:
        """The types of what is used."""

        _poller: Any
        _SyncObj__raftState: int
        _SyncObj__raftCurrentTerm: int
        _SyncObj__votedForNodeId: str | None
        _SyncObj__votesCount: int
        _SyncObj__raftLeader: Node | None
        _SyncObj__raftElectionDeadline: float
        _SyncObj__raftLog: Journal
        _SyncObj__raftCommitIndex: int
        _SyncObj__raftLastApplied: int
        _SyncObj__raftNextIndex: dict[Node, int]
        _SyncObj__raftMatchIndex: dict[Node, int]
        _SyncObj__lastResponseTime: dict[Node, float]
        _SyncObj__newAppendEntriesTime: float
        _SyncObj__noopIDx: int | None
        _SyncObj__otherNodes: set[Node]
        _SyncObj__serializer: Any
        _SyncObj__leaderCommitIndex: int | None
        _SyncObj__conf: SyncObjConf

        def __init__(self, *args: object, **kwargs: object) -> None: ...
        def _onTick(self, timeToWait: float = 0.0) -> None: ...
        def _SyncObj__onBecomeLeader(self) -> None: ...
        def _SyncObj__setState(self, newState: int) -> None: ...
        def _SyncObj__setCurrentTerm(self, term: int, vote: str | None) -> None: ...
        def _SyncObj__updateClusterConfiguration(self, nodes: set[Node]) -> None: ...
else:
    from pysyncobj import SyncObj


class Role(IntEnum):
    """PySyncObj's states."""

    FOLLOWER = 0
    CANDIDATE = 1
    LEADER = 2


class Hooks(Protocol):
    """What the library calls back."""

    def apply(self, command: bytes, index: int) -> None: ...
    def send_entries(self) -> None: ...
    def may_campaign(self) -> bool: ...
    def request_vote(self, peer: str) -> None: ...
    def before_leading(self) -> None: ...
    def after_leading(self) -> None: ...
    def role_changed(self, old: Role, new: Role) -> None: ...


class Compaction(Protocol):
    """The part of PySyncObj's Serializer that is left."""

    def checkSerializing(self) -> tuple[int, int | None]: ...
    def serialize(self, data: tuple[Any, ...], id_: int) -> None: ...


class Peer(Node):  # type: ignore[misc]
    """A member other than this one. Hashes alike in every process, so that simulations repeat."""

    def __hash__(self) -> int:
        return zlib.crc32(self.id.encode())


class _NullPoller:
    """No sockets of the library's."""

    def poll(self, timeout: float) -> None:
        """Nothing to wait for: the event loop waits."""


class _VoteRequests(Transport):  # type: ignore[misc]
    """The one message the library still sends by itself is the vote request; ours goes out instead."""

    def __init__(self, hooks: Hooks) -> None:
        super().__init__(None, None, None)
        self._hooks = hooks

    def addNode(self, node: Node) -> None:
        """Membership tells the transport itself, with the address."""

    def dropNode(self, node: Node) -> None:
        """See addNode."""

    def send(self, node: Node, message: dict[str, object]) -> bool:
        if message["type"] != "request_vote":
            raise AssertionError(f"the library sends {message['type']}")
        self._hooks.request_vote(node.id)
        return True


def _settings(config: RaftConfig, hooks: Hooks) -> SyncObjConf:
    return SyncObjConf(
        autoTick=False,
        dynamicMembershipChange=True,
        useFork=False,
        journalFile=None,
        fullDumpFile=None,
        raftMinTimeout=config.election_min,
        raftMaxTimeout=config.election_max,
        appendEntriesPeriod=config.heartbeat,
        leaderFallbackTimeout=config.election_max,  # check-quorum: 30 s in the library
        connectionTimeout=config.election_max + 1,
        logCompactionMinEntries=config.snapshot_entries,
        logCompactionMinTime=1e12,
        commandsWaitLeader=False,
        onStateChanged=lambda old, new: hooks.role_changed(Role(old), Role(new)),
    )


class Library(SyncObj):
    """One member's raft state, under plain names.

    Beware: PySyncObj's constructor reads every property of the class, so a property may use only what is set early.
    """

    def __init__(
        self,
        node_id: str,
        config: RaftConfig,
        random: Random,
        journal: Journal,
        clock: Callable[[], float],
        hooks: Hooks,
    ) -> None:
        """`clock` shows seconds that never go back; only differences count."""
        self._random = random
        self._config = config
        self._clock = clock
        self._hooks = hooks
        self.node_id = node_id
        self._go_by_own_clock()
        super().__init__(
            Peer(node_id),
            [],
            nodeClass=Peer,
            transport=_VoteRequests(hooks),
            conf=_settings(config, hooks),
        )
        if absent := [name for name in ATTRIBUTES if f"_SyncObj__{name}" not in vars(self)]:
            raise AssertionError(f"pysyncobj {VERSION} lacks {absent}")
        self._poller = _NullPoller()
        self._SyncObj__raftLog = journal

    def _go_by_own_clock(self) -> None:
        """Before each entry into PySyncObj that looks at the time: it asks a function of its module for it, and other
        members in this process have clocks of their own."""
        syncobj.monotonicTime = self._clock

    def compact_with(self, compaction: Compaction) -> None:
        """Before the first tick."""
        self._SyncObj__serializer = compaction

    def compact_above(self, entries: int) -> None:
        """Take a snapshot when the journal holds more than so many entries."""
        self._SyncObj__conf.logCompactionMinEntries = entries

    def restore(self, applied: int) -> None:
        """Take up the state that the journal holds, above a snapshot that covers `applied`."""
        journal, last = self._SyncObj__raftLog, self._SyncObj__raftLog[-1]
        self._SyncObj__raftCurrentTerm = max(journal.getCurrentTerm(), last[2])
        voted_in_this_term = journal.getCurrentTerm() == self._SyncObj__raftCurrentTerm
        self._SyncObj__votedForNodeId = journal.getVotedForNodeId() if voted_in_this_term else None
        self._SyncObj__raftLastApplied = applied
        self._SyncObj__raftCommitIndex = min(max(journal.getRaftCommitIndex(), applied), last[1])

    # ------------------------------------------------------------------------ state
    def now(self) -> float:
        return self._clock()

    @property
    def role(self) -> Role:
        return Role(self._SyncObj__raftState)

    @property
    def leading(self) -> bool:
        return self._SyncObj__raftState == Role.LEADER

    @property
    def term(self) -> int:
        return self._SyncObj__raftCurrentTerm

    @property
    def voted_for(self) -> str | None:
        return self._SyncObj__votedForNodeId

    @property
    def leader_id(self) -> str | None:
        leader = self._SyncObj__raftLeader
        return None if leader is None else str(leader.id)

    @property
    def commit_index(self) -> int:
        return self._SyncObj__raftCommitIndex

    @property
    def applied_index(self) -> int:
        return self._SyncObj__raftLastApplied

    @property
    def noop_index(self) -> int | None:
        """The entry with which the last lead of this member began."""
        return self._SyncObj__noopIDx

    @property
    def election_deadline(self) -> float:
        return self._SyncObj__raftElectionDeadline

    def heartbeat_due(self) -> float:
        return self._SyncObj__newAppendEntriesTime

    def others(self) -> list[str]:
        return sorted(node.id for node in self._SyncObj__otherNodes)

    def is_other(self, peer: str) -> bool:
        return Peer(peer) in self._SyncObj__otherNodes

    def quorum(self, others: int) -> bool:
        """Are this member and so many others a majority?"""
        return others + 1 > (len(self._SyncObj__otherNodes) + 1) / 2

    # ------------------------------------------------------------------------ changes
    def tick(self) -> None:
        self._go_by_own_clock()
        self._onTick(0)

    def set_others(self, others: set[str]) -> None:
        self._go_by_own_clock()
        wanted = {Peer(peer) for peer in others}
        self._SyncObj__updateClusterConfiguration(wanted)
        for node in wanted:
            self._SyncObj__lastResponseTime.setdefault(node, self.now())
        for node in set(self._SyncObj__lastResponseTime) - wanted:
            del self._SyncObj__lastResponseTime[node]

    def set_vote(self, candidate: str) -> None:
        self._SyncObj__setCurrentTerm(self.term, candidate)

    def postpone_election(self) -> None:
        self._SyncObj__raftElectionDeadline = self.now() + self._SyncObj__generateRaftTimeout()

    def campaign_at_next_tick(self) -> None:
        self._SyncObj__raftElectionDeadline = -1.0

    def step_down(self, term: int) -> None:
        """Follow whoever leads `term` (or the current one, if it is higher); nobody is known to."""
        if term > self.term:
            self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__raftLeader = None
        self._SyncObj__setState(Role.FOLLOWER)
        self.postpone_election()

    def follow(self, leader: str, term: int) -> None:
        if term > self.term:
            self._SyncObj__setCurrentTerm(term, None)
        self._SyncObj__raftLeader = Peer(leader)
        self._SyncObj__setState(Role.FOLLOWER)
        self.postpone_election()

    def lead(self) -> None:
        self._go_by_own_clock()
        self._SyncObj__onBecomeLeader()

    def set_commit_index(self, index: int) -> None:
        self._SyncObj__raftCommitIndex = index
        self._SyncObj__raftLog.setRaftCommitIndex(index)

    def set_applied_index(self, index: int) -> None:
        """A snapshot took the place of everything up to `index`."""
        self._SyncObj__raftLastApplied = index

    # ------------------------------------------------------------------------ the leader's view of its peers
    def next_index(self, peer: str) -> int:
        return self._SyncObj__raftNextIndex[Peer(peer)]

    def set_next_index(self, peer: str, index: int) -> None:
        self._SyncObj__raftNextIndex[Peer(peer)] = index

    def match_index(self, peer: str) -> int:
        return self._SyncObj__raftMatchIndex[Peer(peer)]

    def set_match_index(self, peer: str, index: int) -> None:
        self._SyncObj__raftMatchIndex[Peer(peer)] = index

    def answered(self, peer: str) -> None:
        self._SyncObj__lastResponseTime[Peer(peer)] = self.now()

    def answered_at(self, peer: str) -> float:
        return self._SyncObj__lastResponseTime[Peer(peer)]

    def heartbeat_sent(self) -> None:
        self._SyncObj__newAppendEntriesTime = self.now() + self._config.heartbeat

    # ------------------------------------------------------------------------ overridden
    def _SyncObj__sendAppendEntries(self) -> None:
        self._hooks.send_entries()

    def _SyncObj__doApplyCommand(self, command: bytes) -> None:
        self._hooks.apply(command, self._SyncObj__raftLastApplied + 1)

    def _SyncObj__doChangeCluster(self, request: object, reverse: bool = False) -> bool:
        raise AssertionError("the library's membership changes are switched off")

    def _SyncObj__onBecomeLeader(self) -> None:
        self._hooks.before_leading()
        super()._SyncObj__onBecomeLeader()
        self._hooks.after_leading()

    def _SyncObj__generateRaftTimeout(self) -> float:
        low, high = self._config.election_min, self._config.election_max
        return low + (high - low) * self._random.random()

    def _SyncObj__connectedToAnyone(self) -> bool:
        return self._hooks.may_campaign()
