"""Whom this member listens to: the members of its own configuration, and nobody else without an introduction.

A member that was away may know only members that have left since, and a new one knows nobody. So a stranger is not
taken at its word but asked who it is; it answers with its configuration, and is listened to from then on if that
lists both and is of the same generation. What a stranger said before is lost, and raft says it again. A member
without a configuration listens to nobody before it knows which generation of the swarm it joins.
"""

from __future__ import annotations

from manager.raft.gate import Gate
from manager.raft.library import Library
from manager.raft.membership import Membership
from manager.raft.messages import Introduction, Message, WhoAreYou
from swarmcore.model.generation import Generation


class Acquaintance:
    """Asked about every message before anything is done with it."""

    def __init__(self, node_id: str, library: Library, gate: Gate, membership: Membership) -> None:
        self._node_id = node_id
        self._library = library
        self._gate = gate
        self._membership = membership
        self._introduced: set[str] = set()
        self._joining: Generation | None = None

    @property
    def generation(self) -> Generation | None:
        """None: it has not been told yet which one it joins."""
        membership, joining = self._membership, self._joining
        if not membership.members:
            return joining
        held = membership.configuration.generation
        # The log of a recovered swarm begins with its past: who joins reads through older configurations.
        return joining if joining is not None and joining.newer_than(held) else held

    @property
    def settled(self) -> bool:
        """Its configuration is of its own generation, and not of a past that it is still reading."""
        return self._membership.configuration.generation == self.generation

    def join(self, generation: Generation) -> None:
        """A member without a configuration takes one of this generation only."""
        self._joining = generation

    def takes_from(self, peer: str) -> bool:
        return (self.settled and peer in self._membership.members) or peer in self._introduced

    def heard(self, peer: str, message: Message) -> bool:
        """May this message be acted on? If not, its sender is asked who it is."""
        if isinstance(message, WhoAreYou | Introduction) or self.takes_from(peer):
            return True
        if self.generation is not None:
            self._gate.send(peer, WhoAreYou(term=self._library.term))
        return False

    def who_are_you(self, peer: str, message: WhoAreYou) -> None:
        configuration = self._membership.configuration
        if peer in configuration.members:
            answer = Introduction(term=self._library.term, configuration=configuration)
            self._gate.send(peer, answer)

    def introduction(self, peer: str, message: Introduction) -> None:
        offered = message.configuration
        both = {peer, self._node_id} <= set(offered.members)
        if both and offered.generation == self.generation:
            self._introduced.add(peer)

    def left(self, peers: set[str]) -> None:
        """They are no members any more, as the log itself says."""
        self._introduced -= peers
