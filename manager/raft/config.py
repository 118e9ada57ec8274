"""What of raft can be set."""

from __future__ import annotations

from msgspec import Struct


class RaftConfig(Struct, frozen=True, kw_only=True):
    """Times in seconds. The defaults suit managers on one LAN; on a WAN multiply all three."""

    heartbeat: float = 0.1
    election_min: float = 0.4
    election_max: float = 0.8
    snapshot_entries: int = 5000
    snapshot_chunk: int = 1 << 20
    batch_bytes: int = 1 << 20
    batch_entries: int = 4096
    #: How long a read barrier or a membership change waits for a leader or its turn.
    patience: float = 5.0
    #: How long it counts that a follower could make no new connection to the leader.
    complaint: float = 15.0
    #: A leader gives up its lead for that at most once in so long: where nobody can connect, nobody is better.
    between_complaints: float = 120.0
