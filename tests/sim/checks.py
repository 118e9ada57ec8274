"""What must hold whatever happens: raft's safety properties, watched from outside while the simulation runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from manager.raft.core import RaftCore
from manager.raft.messages import Entry
from swarmcore.model.generation import FIRST, Generation
from tests.sim.world import Clock


class Violated(Exception):
    """An invariant is broken."""


class Watched(Protocol):
    name: str

    #: Of the generation of the swarm that it belongs to.
    invariants: Invariants

    @property
    def core(self) -> RaftCore | None: ...


class Invariants:
    """Knows the one true history of one generation of the swarm and compares each of its members with it."""

    def __init__(self, clock: Clock, generation: Generation = FIRST) -> None:
        self.clock = clock
        self.generation = generation
        self.violations: list[str] = []
        self.history: list[str] = []  # every applied command, in order
        self.known: set[str] = set()
        self.acknowledged: dict[str, float] = {}
        self.longest_read = 0
        self.reads = 0
        self.leaders: dict[int, str] = {}
        self.committed: dict[int, tuple[int, bytes]] = {}
        self._led_commit: dict[tuple[str, int], int] = {}
        self._votes: dict[tuple[str, int], str] = {}
        self._committed_in: dict[int, int] = {}  # the term in which an entry was first seen committed

    def recovered(
        self, generation: Generation, state: Sequence[str], log: Sequence[Entry], term: int
    ) -> Invariants:
        """Those of the generation that a lone survivor begins: all that its state and log hold is its history.

        What clients were told before holds on as far as the survivor knew of it.
        """
        new = Invariants(self.clock, generation)
        new.violations = self.violations
        new.history = [*state]
        first = log[0][1]
        new.committed = {index: entry for index, entry in self.committed.items() if index < first}
        new.committed |= {index: (of_term, command) for command, index, of_term in log if index > 1}
        new._committed_in = dict.fromkeys(new.committed, term)
        new.known = set(new.history)
        new.acknowledged = {name: at for name, at in self.acknowledged.items() if name in new.known}
        return new

    def violated(self, kind: str, detail: str) -> None:
        self.violations.append(f"{kind} at {self.clock.elapsed:.3f}: {detail}")

    # ------------------------------------------------------------------------ state machine safety
    def applied(self, name: str, position: int, command: str) -> None:
        if position == len(self.history):
            self.history.append(command)
            self.known.add(command)
        elif position > len(self.history) or self.history[position] != command:
            self.violated("STATE-MACHINE", f"{name} applies {command[:20]} as {position}, history differs")

    def restored(self, name: str, state: Sequence[str]) -> None:
        if list(state) != self.history[: len(state)]:
            self.violated("STATE-MACHINE", f"{name} restored {len(state)} commands that are not history")

    # ------------------------------------------------------------------------ what clients were told
    def acknowledge(self, command: str) -> None:
        self.acknowledged[command] = self.clock.time
        if command not in self.known:
            self.violated("FALSE-ACK", f"{command[:20]} was acknowledged and is applied nowhere")

    def read(self, name: str, state: Sequence[str], before: set[str], longest_before: int) -> None:
        """`before` was acknowledged, and `longest_before` was read, before this read began."""
        self.reads += 1
        if len(state) < longest_before:
            self.violated("LINEARIZABILITY", f"{name} read {len(state)} after a read of {longest_before}")
        if missing := before.difference(state):
            self.violated("LINEARIZABILITY", f"{name} read without {len(missing)} acknowledged writes")
        self.longest_read = max(self.longest_read, len(state))

    def nothing_lost(self, state: Iterable[str]) -> None:
        if lost := set(self.acknowledged).difference(state):
            self.violated("DURABILITY", f"{len(lost)} acknowledged writes are lost")

    # ------------------------------------------------------------------------ raft's own
    def voted(self, name: str, term: int, candidate: str) -> None:
        """A vote left the member: it must be the only one in this term, whatever happens to the member."""
        if self._votes.setdefault((name, term), candidate) != candidate:
            self.violated(
                "ONE-VOTE", f"{name} voted for {self._votes[name, term]} and {candidate} in term {term}"
            )

    def held_by_majority(self, leader: Watched, index: int, everybody: Mapping[str, Watched]) -> None:
        """A leader commits: a majority must hold the entry now (of the dead it is believed)."""
        if (core := leader.core) is None:
            return
        term = core.journal[index - core.journal[0][1]][2]
        holders = [name for name in core.membership.members if self._holds(everybody[name], index, term)]
        if 2 * len(holders) <= len(core.membership.members):
            self.violated(
                "QUORUM", f"{leader.name} commits entry {index} of term {term}, held by {holders} only"
            )

    def _holds(self, member: Watched, index: int, term: int) -> bool:
        if member.invariants is not self:
            return True  # it may have held it when it still belonged, as the dead may
        if (core := member.core) is None:
            return True
        position = index - core.journal[0][1] if len(core.journal) else 0
        return position <= 0 or (position < len(core.journal) and core.journal[position][2] == term)

    def after_tick(self, member: Watched, everybody: Mapping[str, Watched]) -> None:
        if (core := member.core) is None:
            return
        library, journal = core.library, core.journal
        if len(journal) == 0:
            self.violated("EMPTY-LOG", member.name)
            return
        first = journal[0][1]
        for index in range(max(len(self.committed) + 2, first + 1), library.commit_index + 1):
            self.committed[index] = (journal[index - first][2], journal[index - first][0])
            self._committed_in[index] = library.term
        if library.leading:
            # What was committed before it led was committed by others, perhaps among other members.
            lead = (member.name, library.term)
            if library.commit_index > self._led_commit.setdefault(lead, library.commit_index):
                self._led_commit[lead] = library.commit_index
                self.held_by_majority(member, library.commit_index, everybody)
            leader = self.leaders.get(library.term)
            if leader is None:
                self.leaders[library.term] = member.name
                self._complete(member.name, core)
            elif leader != member.name:
                self.violated("ELECTION-SAFETY", f"term {library.term} led by {leader} and {member.name}")

    def _complete(self, name: str, core: RaftCore) -> None:
        """Leader completeness: it holds every entry committed in an earlier term.

        A leader elected late, whose votes were under way while a newer one already committed, need not.
        """
        first = core.journal[0][1]
        for index, (term, _) in self.committed.items():
            earlier = self._committed_in[index] < core.library.term
            if (
                earlier
                and index > first
                and (index > core.last_entry[0] or core.journal[index - first][2] != term)
            ):
                self.violated("LEADER-COMPLETENESS", f"{name} leads without the committed entry {index}")
                return

    def logs_match(self, members: Iterable[Watched]) -> None:
        """Same index and term: same command. And committed entries are what was committed."""
        seen: dict[tuple[int, int], bytes] = {}
        for member in members:
            if (core := member.core) is None or member.invariants is not self:
                continue
            commit = core.library.commit_index
            for command, index, term in core.journal[1:]:
                if seen.setdefault((index, term), command) != command:
                    self.violated("LOG-MATCHING", f"entry {index} of term {term} differs on {member.name}")
                if index <= commit and index in self.committed and self.committed[index] != (term, command):
                    self.violated("COMMITTED", f"{member.name} has another committed entry {index}")
