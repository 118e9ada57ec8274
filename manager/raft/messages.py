"""What raft peers say to each other: frozen structs, tagged, sent as msgpack arrays; nothing else is ever decoded."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from swarmcore.model.generation import FIRST, Generation

#: One log entry: (command, index, term). The first byte of a command is its kind (see `KIND_*`).
Entry = tuple[bytes, int, int]

KIND_REGULAR = 0
KIND_NOOP = 1
KIND_MEMBERSHIP = 2


class _Message(Struct, frozen=True, kw_only=True, array_like=True):
    term: int


class Configuration(Struct, frozen=True, kw_only=True, array_like=True):
    """Who belongs (node id to address), and to which generation of the swarm."""

    members: dict[str, str]
    generation: Generation = FIRST


class SnapshotMeta(Struct, frozen=True, kw_only=True, array_like=True):
    """Which snapshot: the last entry it covers, who belonged at that entry, and the plain data's size and SHA-256."""

    index: int
    term: int
    members: dict[str, str]
    size: int
    digest: bytes
    generation: Generation = FIRST

    @property
    def configuration(self) -> Configuration:
        return Configuration(members=self.members, generation=self.generation)


class AppendEntries(_Message, frozen=True, tag=1):
    """Leader to follower. `sequence` grows with every message of a leader and comes back in the reply."""

    sequence: int
    commit_index: int
    previous_index: int
    previous_term: int
    entries: list[Entry]


class Heartbeat(_Message, frozen=True, tag=2):
    """Leader to a follower that is receiving a snapshot: I lead and live."""

    sequence: int


class SnapshotChunk(_Message, frozen=True, tag=3):
    """Leader to follower: a piece of a snapshot's plain data (the link is encrypted, each disk has its own key)."""

    sequence: int
    snapshot: SnapshotMeta
    offset: int
    data: bytes


class AppendReply(_Message, frozen=True, tag=4):
    """`accepted`: True, the log matches the leader's below `next_index`; False, go back to it; None, heard you."""

    sequence: int
    accepted: bool | None
    next_index: int = 0


class SnapshotReply(_Message, frozen=True, tag=5):
    """Follower to leader: of this snapshot I hold `received` bytes, go on there."""

    sequence: int
    index: int
    received: int


class RequestVote(_Message, frozen=True, tag=6):
    """`transfer`: the leader itself asked for this election, so a live leader is no reason to refuse."""

    last_index: int
    last_term: int
    transfer: bool = False


class VoteReply(_Message, frozen=True, tag=7):
    """A vote for the receiver in `term`. Refusals are silent."""


class PreVote(_Message, frozen=True, tag=8):
    """Would you vote for me in `term`? Changes nothing on either side."""

    round: int
    last_index: int
    last_term: int


class PreVoteReply(_Message, frozen=True, tag=9):
    """Yes (to `round` and `term` of the question)."""

    round: int


class HigherTerm(_Message, frozen=True, tag=10):
    """Your message was of an old term; this is mine."""


class TimeoutNow(_Message, frozen=True, tag=11):
    """Leader to the member that shall lead next: start an election at once."""


class WhoAreYou(_Message, frozen=True, tag=12):
    """You are not among the members that I know: what was said is not taken."""


class Introduction(_Message, frozen=True, tag=13):
    """The answer: the configuration here, in which we both are. It may be newer than yours."""

    configuration: Configuration


class Unreachable(_Message, frozen=True, tag=14):
    """Follower to leader: I cannot make a new connection to you."""


Message = (
    AppendEntries
    | Heartbeat
    | SnapshotChunk
    | AppendReply
    | SnapshotReply
    | RequestVote
    | VoteReply
    | PreVote
    | PreVoteReply
    | HigherTerm
    | TimeoutNow
    | WhoAreYou
    | Introduction
    | Unreachable
)


def encode_configuration(configuration: Configuration) -> bytes:
    """The command that makes this the configuration."""
    members = dict(sorted(configuration.members.items()))
    # Swarms that were never recovered write what all versions read.
    body = (
        members
        if configuration.generation == FIRST
        else Configuration(members=members, generation=configuration.generation)
    )
    return bytes([KIND_MEMBERSHIP]) + msgspec.msgpack.encode(body)


def encode_members(members: dict[str, str]) -> bytes:
    """The command that makes `members` (node id to address) the configuration of a swarm that was never recovered."""
    return encode_configuration(Configuration(members=members))


_decode_body = msgspec.msgpack.Decoder(dict[str, str] | Configuration).decode


def decode_configuration(command: bytes) -> Configuration:
    body = _decode_body(command[1:])
    return body if isinstance(body, Configuration) else Configuration(members=body)
