"""What the rest of the manager knows of raft: propose bytes, wait for a barrier, who leads, who belongs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from msgspec import Struct


class Member(Struct, frozen=True, kw_only=True):
    """A raft member: a manager's node id and the address (host:port) its peers dial."""

    node_id: str
    address: str


class RaftStatus(Struct, frozen=True, kw_only=True):
    """For `node ls`, `/info` and metrics. `reachable`: on the leader, answered within an election time-out; on
    the others, has an open link to this manager."""

    node_id: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    members: Mapping[str, Member]
    reachable: Mapping[str, bool]


class StateMachine(Protocol):
    """What raft replicates. All three are called on the event loop's thread, in log order."""

    def apply(self, data: bytes, index: int) -> None:
        """Apply one committed proposal. Must be deterministic; an exception is fatal for the manager."""
        ...

    def snapshot(self) -> Callable[[], bytes]:
        """Take an immutable view now (cheap); the returned function serialises it later, in a thread."""
        ...

    def restore(self, data: bytes, index: int) -> None:
        """Replace the whole state with a snapshot's."""
        ...


class Proposer(Protocol):
    """Raft as its users see it. Errors: NoLeader (nothing happened), OutcomeUnknown (read again)."""

    @property
    def node_id(self) -> str: ...

    @property
    def is_leader(self) -> bool: ...

    @property
    def leader(self) -> Member | None:
        """Who leads, as far as this manager knows."""
        ...

    @property
    def term(self) -> int: ...

    @property
    def members(self) -> Mapping[str, Member]: ...

    def status(self) -> RaftStatus: ...

    async def propose(self, data: bytes) -> int:
        """Leader only. Returns the entry's index once a quorum holds it durably *and* it is applied here."""
        ...

    async def read_barrier(self) -> int:
        """Return once this manager has applied everything acknowledged before the call (read index).

        Works on followers too: they ask the leader. Raises NoLeader when no quorum confirms in time.
        """
        ...

    async def add_member(self, member: Member) -> None:
        """Leader only, one change at a time; adding a known id with another address changes the address."""
        ...

    async def remove_member(self, node_id: str) -> None:
        """Leader only; removing itself transfers the lead first."""
        ...

    async def transfer_lead(self, to: str | None = None) -> None:
        """Leader only: hand over to `to` or the most up-to-date member."""
        ...

    async def wait_other_leader(self, node_id: str) -> None:
        """Return once another member than `node_id` is known to lead."""
        ...

    async def wait_lead(self, leading: bool) -> None:
        """Return once `is_leader` is `leading`. Raises Unavailable when raft has stopped."""
        ...
