"""Who belongs: one change at a time, in force as soon as it is appended, undone when it is truncated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from manager.raft.interfaces import Core, Done, Journal, PeerTransport
from manager.raft.library import Library
from manager.raft.messages import KIND_MEMBERSHIP, Configuration, decode_configuration, encode_configuration
from swarmcore.errors import FailedPrecondition


class Membership:
    """Configurations by the index of the entry that made them; the last one is in force, committed or not."""

    def __init__(
        self, node_id: str, core: Core, library: Library, journal: Journal, transport: PeerTransport
    ) -> None:
        self._node_id = node_id
        self._core = core
        self._library = library
        self._journal = journal
        self._transport = transport
        self._history: list[tuple[int, Configuration]] = [(0, Configuration(members={}))]
        self._dialled: dict[str, str] = {}
        #: Told who is no member any more.
        self.on_left: Callable[[set[str]], None] = lambda peers: None

    @property
    def configuration(self) -> Configuration:
        return self._history[-1][1]

    @property
    def members(self) -> Mapping[str, str]:
        """Node id to address; nobody's while this member joins and has heard of none yet."""
        return self.configuration.members

    @property
    def is_member(self) -> bool:
        return self._node_id in self.members

    @property
    def pending(self) -> bool:
        """The last change is not committed yet."""
        return self._history[-1][0] > self._library.commit_index

    def at(self, index: int) -> Configuration:
        """As of the entry `index`: what a snapshot of that state must carry."""
        found = (configuration for start, configuration in reversed(self._history) if start <= index)
        return next(found, Configuration(members={}))

    # ------------------------------------------------------------------------ following the log
    def load(self, index: int, configuration: Configuration) -> None:
        """Start from a snapshot's configuration (or nobody's) and what the journal holds above it."""
        self._history = [(index, configuration)]
        self._history += [
            (place, decode_configuration(command))
            for command, place, _ in self._journal[:]
            if place > index and command[:1] == bytes([KIND_MEMBERSHIP])
        ]
        self._enforce()

    def appended(self, index: int, command: bytes) -> None:
        self._history.append((index, decode_configuration(command)))
        self._enforce()

    def truncated(self, index: int) -> None:
        """Entries from `index` on are gone."""
        if self._history[-1][0] >= index:
            self._history = [step for step in self._history if step[0] < index]
            self._enforce()

    def forget_before(self, index: int) -> None:
        """A snapshot covers `index`; older configurations are never asked for again."""
        if index <= self._history[0][0]:
            return
        self._history = [(index, self.at(index))] + [step for step in self._history if step[0] > index]

    def _enforce(self) -> None:
        wanted = {peer: address for peer, address in self.members.items() if peer != self._node_id}
        self._library.set_others(set(wanted))
        left = set(self._dialled) - set(wanted)
        for peer in sorted(left):
            self._transport.drop_peer(peer)
        self.on_left(left)
        for peer, address in sorted(wanted.items()):
            if self._dialled.get(peer) != address:
                self._transport.add_peer(peer, address)
        self._dialled = wanted

    # ------------------------------------------------------------------------ changing it (leader)
    def can_change(self) -> bool:
        """One at a time, and none before an entry of the own term is committed.

        Two changes at once can make two majorities that share nobody; a change on top of another leader's
        uncommitted one too.
        """
        noop = self._library.noop_index
        return not self.pending and noop is not None and self._library.commit_index >= noop

    def add(self, node_id: str, address: str, done: Done) -> None:
        self._change({**self.members, node_id: address}, done)

    def remove(self, node_id: str, done: Done) -> None:
        if node_id == self._node_id:
            raise FailedPrecondition("a leader does not remove itself", "hand over the lead first")
        self._change({peer: address for peer, address in self.members.items() if peer != node_id}, done)

    def _change(self, members: dict[str, str], done: Done) -> None:
        self._core.require_lead()
        if not self.can_change():
            raise FailedPrecondition("another change of the managers is under way", "try again in a moment")
        generation = self.configuration.generation
        self._core.append(encode_configuration(Configuration(members=members, generation=generation)), done)
