"""How managers open raft's streams to each other; what they say on them is manager/raft/messages.py's."""

from __future__ import annotations

from msgspec import Struct

from swarmcore.model.generation import FIRST, Generation


class RaftStream(Struct, frozen=True, kw_only=True, tag="raft-stream"):
    """The first message of the manager that dials. `to` is the node that it means to reach.

    `generation` is None while it has none yet: it joins, and takes that of the swarm that it joins.
    """

    to: str
    cluster: str = ""
    generation: Generation | None = FIRST


class RaftWelcome(Struct, frozen=True, kw_only=True, tag="raft-welcome"):
    """The first message of the manager that was dialled, also where it refuses the stream afterwards."""

    cluster: str
    generation: Generation | None


class AskGeneration(Struct, frozen=True, kw_only=True, tag="raft-generation"):
    """A manager that wants to join asks this of the one that it joins by."""


class GenerationReply(Struct, frozen=True, kw_only=True):
    """None: the one asked has not joined yet itself."""

    generation: Generation | None
