"""Giving up the lead: stop taking writes, wait until the heir has everything, tell it. Also when nobody can connect."""

from __future__ import annotations

import logging
from collections.abc import Callable

from manager.raft.config import RaftConfig
from manager.raft.gate import Gate
from manager.raft.interfaces import Core
from manager.raft.library import Library
from manager.raft.messages import TimeoutNow, Unreachable
from manager.raft.replication import Replicator
from swarmcore.errors import FailedPrecondition

log = logging.getLogger(__name__)


class Handover:
    """One at a time, with an end: who does not take the lead in time leaves it where it is."""

    def __init__(
        self,
        node_id: str,
        core: Core,
        config: RaftConfig,
        library: Library,
        gate: Gate,
        replicator: Replicator,
    ) -> None:
        self._node_id = node_id
        self._core = core
        self._config = config
        self._library = library
        self._gate = gate
        self._replicator = replicator
        self._heir: str | None = None
        self._deadline = 0.0
        self._done: Callable[[bool], None] = lambda success: None
        self._complaints: dict[str, float] = {}
        self._gave_up = float("-inf")

    @property
    def under_way(self) -> bool:
        return self._heir is not None

    def start(self, heir: str | None, done: Callable[[bool], None]) -> None:
        library = self._library
        self._core.require_lead()
        others = library.others()
        if not others:
            raise FailedPrecondition("there is no other manager to hand the lead to", "add a manager first")
        if heir is not None and heir not in others:
            raise FailedPrecondition(f"{heir} is not another manager of this swarm")
        if heir is None:  # who answered last, of those who hold the most
            heir = max(others, key=lambda peer: (library.match_index(peer), library.answered_at(peer), peer))
        self._heir = heir
        self._done = done
        self._deadline = library.now() + 2 * self._config.election_max
        self._replicator.wanted = True

    def step(self) -> None:
        library = self._library
        if self._heir is None:
            return
        if library.now() > self._deadline or not library.is_other(self._heir):
            self._finish(False)
        elif library.match_index(self._heir) == self._core.last_entry[0]:
            self._gate.send(self._heir, TimeoutNow(term=library.term))

    # ------------------------------------------------------------------------ nobody new can connect
    def complain(self) -> None:
        """The follower's side: tell the leader that it takes no new connections."""
        library = self._library
        leader = library.leader_id
        if leader is not None and not library.leading:
            self._gate.send(leader, Unreachable(term=library.term))

    def complaint(self, peer: str, message: Unreachable) -> None:
        """More than half of those who follow say so: the lead goes to one of them."""
        library, config = self._library, self._config
        if message.term != library.term or not self._core.ready or not library.is_other(peer):
            return
        now = library.now()
        self._complaints[peer] = now
        following = [p for p in library.others() if now - library.answered_at(p) <= config.election_max]
        complaining = [p for p in following if now - self._complaints.get(p, -1e9) <= config.complaint]
        if 2 * len(complaining) <= len(following) or now - self._gave_up < config.between_complaints:
            return
        if not self.under_way:
            log.warning(
                "the lead is given up: other managers cannot make new connections to this one",
                extra={"node": self._node_id, "managers": complaining},
            )
            self._gave_up = now
            self.start(None, lambda success: None)

    def lost_lead(self) -> None:
        self._complaints = {}
        self._finish(True)

    def _finish(self, success: bool) -> None:
        if self._heir is not None:
            self._heir = None
            done = self._done
            self._core.later(lambda: done(success))
