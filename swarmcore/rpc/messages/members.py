"""Raft membership and read barriers between managers: what needs an answer, beside raft's own streams."""

from __future__ import annotations

from msgspec import Struct


class JoinRaft(Struct, frozen=True, kw_only=True, tag="join-raft"):
    """A node with a manager's certificate asks to become a raft member at `address` (again: to change it)."""

    address: str


class LeaveRaft(Struct, frozen=True, kw_only=True, tag="leave-raft"):
    """A manager that leaves the swarm asks to be removed and made a worker."""


class ForwardedMembership(Struct, frozen=True, kw_only=True, tag="forwarded-membership"):
    """Passed on once, from the manager that was asked to the leader; an empty address means leave."""

    node_id: str
    address: str


class MembersReply(Struct, frozen=True, kw_only=True, tag="members-reply"):
    """The configuration after the change: node id to address."""

    members: dict[str, str]


class ReadIndex(Struct, frozen=True, kw_only=True, tag="read-index"):
    """A follower's barrier: the leader answers once a majority confirmed that it leads."""


class ReadIndexReply(Struct, frozen=True, kw_only=True, tag="read-index-reply"):
    index: int
