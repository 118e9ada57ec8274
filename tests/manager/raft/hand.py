"""Raft members whose messages a test delivers by hand, one by one, late, twice or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import TypeVar

from manager.raft.config import RaftConfig
from manager.raft.core import RaftCore
from manager.raft.fence import Fence
from manager.raft.messages import (
    AppendEntries,
    AppendReply,
    Configuration,
    Introduction,
    Message,
    PreVote,
    RequestVote,
    SnapshotMeta,
    VoteReply,
)
from manager.raft.snapshots import SnapshotStore
from manager.raft.storage import Wal
from manager.raft.storage import forget as give_up
from pki.seal import DataKeys
from swarmcore.model.generation import FIRST
from tests.sim.disk import SimDisk

KEYS = DataKeys(current=b"k" * 32)
M = TypeVar("M")


class HandClock:
    """Moves when it is told to, and a little with every look."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        self.time += 1e-6
        return self.time


class Words:
    """The state: what was applied, in order. It chokes on "boom"."""

    def __init__(self) -> None:
        self.state: list[bytes] = []

    def apply(self, data: bytes, index: int) -> None:
        if data == b"boom":
            raise ValueError("boom")
        self.state.append(data)

    def snapshot(self) -> Callable[[], bytes]:
        state = list(self.state)
        return lambda: b"\n".join(state)

    def restore(self, data: bytes, index: int) -> None:
        self.state = data.split(b"\n") if data else []


class Hand:
    """One member: its core on a simulated disk, and what it wants to send."""

    def __init__(self, name: str, clock: HandClock, swarm: Iterable[str], **config: int) -> None:
        self.name = name
        self.clock = clock
        self.disk = SimDisk()
        self.config = RaftConfig(**config)
        self._bootstrap = {peer: f"{peer}:2377" for peer in swarm}
        self.start()

    def start(self) -> None:
        self.outbox: list[tuple[str, Message]] = []
        self.words = Words()
        self.core = RaftCore(
            self.name,
            self.words,
            Wal(self.disk, KEYS, trailing=2),
            SnapshotStore(self.disk, KEYS, chunk=100),
            self,
            config=self.config,
            random=Random(1),
            clock=self.clock.now,
            background=self._background,
            bootstrap=self._bootstrap or None,
        )
        self.core.acquaintance.join(FIRST)

    def restart(self, *, power: bool = True) -> None:
        self.disk.crash(power=power)
        self.start()

    def demote(self) -> None:
        """And promote it again: it begins anew, and waits to be added."""
        self.disk.crash(power=False)
        give_up(self.disk, KEYS)
        self._bootstrap = {}
        self.start()

    @staticmethod
    def _background(
        job: Callable[[], SnapshotMeta], done: Callable[[SnapshotMeta | BaseException], None]
    ) -> None:
        done(job())

    # ------------------------------------------------------------------------ transport
    def send(self, node_id: str, message: Message) -> bool:
        self.outbox.append((node_id, message))
        return True

    def add_peer(self, node_id: str, address: str) -> None:
        """All are linked."""

    def drop_peer(self, node_id: str) -> None:
        """All stay linked: a removed member goes on talking."""

    def set_fence(self, fence: Fence) -> None:
        raise AssertionError("tests deliver by hand")

    def on_message(self, callback: Callable[[str, Message], None]) -> None:
        raise AssertionError("tests deliver by hand")

    def on_connection(self, callback: Callable[[str, bool], None]) -> None:
        raise AssertionError("tests deliver by hand")

    # ------------------------------------------------------------------------ by hand
    def take(self, to: str, kind: type[M]) -> list[M]:
        """Take the messages of this kind to this peer out of the outbox."""
        taken: list[M] = [
            message for peer, message in self.outbox if peer == to and isinstance(message, kind)
        ]
        self.outbox = [(peer, m) for peer, m in self.outbox if not (peer == to and isinstance(m, kind))]
        return taken

    def tick(self, after: float = 0.0) -> None:
        self.clock.time += after
        self.core.tick()

    def receive(self, peer: str, *messages: Message) -> None:
        """And tick, as the driver does."""
        for message in messages:
            if not self.core.membership.members:  # it joins: whoever speaks to it has said who it is
                both = Configuration(members={name: f"{name}:2377" for name in (peer, self.name)})
                self.core.receive(peer, Introduction(term=0, configuration=both))
            self.core.receive(peer, message)
        self.core.tick()

    def write(self, *words: str) -> list[int | None]:
        """What clients are told goes to the list."""
        told: list[int | None] = []
        for word in words:
            self.core.propose(word.encode(), told.append)
        self.tick()
        return told

    @property
    def leads(self) -> bool:
        return self.core.library.leading

    @property
    def log(self) -> list[tuple[int, int]]:
        """(index, term)"""
        return [(index, term) for _, index, term in self.core.journal[:]]

    @property
    def last(self) -> int:
        return self.core.last_entry[0]

    @property
    def commit(self) -> int:
        return self.core.library.commit_index


def elect(candidate: Hand, voters: Iterable[Hand]) -> bool:
    """It campaigns without asking around first."""
    candidate.core.votes.force()
    candidate.tick()
    for voter in voters:
        voter.receive(candidate.name, *candidate.take(voter.name, RequestVote))
        candidate.receive(voter.name, *voter.take(candidate.name, VoteReply))
    candidate.outbox = [(peer, m) for peer, m in candidate.outbox if not isinstance(m, RequestVote | PreVote)]
    return candidate.leads


def replicate(leader: Hand, followers: Iterable[Hand], rounds: int = 3) -> None:
    """Deliver entries and answers between them until all are quiet."""
    for _ in range(rounds):
        leader.tick(leader.config.heartbeat * 1.01)
        for follower in followers:
            follower.receive(leader.name, *leader.take(follower.name, AppendEntries))
            leader.receive(follower.name, *follower.take(leader.name, AppendReply))


def forget(*members: Hand) -> None:
    """Everything on the way is lost."""
    for member in members:
        member.outbox = []
