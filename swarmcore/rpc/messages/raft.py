"""How managers open raft's streams to each other; what they say on them is manager/raft/messages.py's."""

from __future__ import annotations

from msgspec import Struct


class RaftStream(Struct, frozen=True, kw_only=True, tag="raft-stream"):
    """The first message of the manager that dials. `to` is the node that it means to reach."""

    to: str
