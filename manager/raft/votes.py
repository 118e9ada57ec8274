"""Elections: pre-vote, leader stickiness, one vote a term, members' votes counted once, handing over the lead."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from manager.raft.library import Role
from manager.raft.messages import (
    HigherTerm,
    PreVote,
    PreVoteReply,
    RequestVote,
    TimeoutNow,
    Unreachable,
    VoteReply,
)
from swarmcore.errors import FailedPrecondition

if TYPE_CHECKING:
    from manager.raft.core import RaftCore

log = logging.getLogger(__name__)


class Votes:
    """Both sides of an election: asking and granting."""

    def __init__(self, core: RaftCore) -> None:
        self._core = core
        self._last_contact = float("-inf")
        self._round = 0
        self._pre_voters: set[str] | None = None
        self._pre_vote_won = False
        self._voters: set[str] = set()
        self._forced = False
        self._transfer = False
        #: Decided once a tick: the library looks at the clock again, and a deadline may pass between two looks.
        self.may_campaign = False

    # ------------------------------------------------------------------------ asking
    def before_tick(self) -> None:
        """The deadline passed: ask around first. Only who would win lets the library campaign."""
        library = self._core.library
        self.may_campaign = False
        if library.leading or library.election_deadline >= library.now():
            return
        belongs = self._core.membership.is_member and self._core.acquaintance.settled
        if not belongs or not self._reaches_floor(*self._core.last_entry):
            library.postpone_election()  # strangers, the removed and those still catching up never campaign
            return
        others = library.others()
        if self._forced or self._pre_vote_won or not others:
            self.may_campaign = True
            self._transfer = self._forced
            self._forced = self._pre_vote_won = False
            self._pre_voters = None
            self._voters = set()
            return
        self._round += 1
        self._pre_voters = set()
        library.postpone_election()
        index, term = self._core.last_entry
        question = PreVote(term=library.term + 1, round=self._round, last_index=index, last_term=term)
        for peer in others:
            self._core.gate.send(peer, question)

    def request_vote(self, peer: str) -> None:
        """The library campaigns."""
        index, term = self._core.last_entry
        self._core.gate.send(
            peer,
            RequestVote(
                term=self._core.library.term, last_index=index, last_term=term, transfer=self._transfer
            ),
        )

    def heard_leader(self) -> None:
        self._last_contact = self._core.library.now()
        self._pre_voters = None
        self._pre_vote_won = False

    def pre_vote_reply(self, peer: str, message: PreVoteReply) -> None:
        library = self._core.library
        if self._pre_voters is None or message.round != self._round or message.term != library.term + 1:
            return
        if library.is_other(peer):
            self._pre_voters.add(peer)
        if library.quorum(len(self._pre_voters)):
            self._pre_voters = None
            self._pre_vote_won = True
            library.campaign_at_next_tick()

    def vote_reply(self, peer: str, message: VoteReply) -> None:
        library = self._core.library
        if library.role is not Role.CANDIDATE or message.term != library.term or not library.is_other(peer):
            return
        self._voters.add(peer)
        if library.quorum(len(self._voters)):
            library.lead()

    # ------------------------------------------------------------------------ granting
    def up_to_date(self, message: RequestVote | PreVote) -> bool:
        """The election restriction: who leads must hold everything that may be committed."""
        index, term = self._core.last_entry
        candidate = message.last_term, message.last_index
        return candidate >= (term, index) and self._reaches_floor(message.last_index, message.last_term)

    def _reaches_floor(self, index: int, term: int) -> bool:
        """A member that was demoted and is back does not help a log to lead that its former self would have refused."""
        return (term, index) >= self._core.journal.floor(self._core.acquaintance.generation)

    def _leader_alive(self) -> bool:
        library = self._core.library
        return library.leading or library.now() - self._last_contact < self._core.config.election_min

    def pre_vote(self, peer: str, message: PreVote) -> None:
        term = self._core.library.term
        if message.term <= term:
            self._core.gate.send(peer, HigherTerm(term=term))
        elif not self._leader_alive() and self.up_to_date(message):
            self._core.gate.send(peer, PreVoteReply(term=message.term, round=message.round))

    def vote(self, peer: str, message: RequestVote) -> None:
        library = self._core.library
        if message.term > library.term and self._leader_alive() and not message.transfer:
            return
        if message.term < library.term:
            self._core.gate.send(peer, HigherTerm(term=library.term))
            return
        if message.term > library.term:
            library.step_down(message.term)
        if (
            library.role is Role.LEADER
            or library.voted_for not in (None, peer)
            or not self.up_to_date(message)
        ):
            return
        library.set_vote(peer)
        library.postpone_election()
        self._core.gate.send(peer, VoteReply(term=library.term))

    def higher_term(self, peer: str, message: HigherTerm) -> None:
        if message.term > self._core.library.term:
            self._core.library.step_down(message.term)

    def timeout_now(self, peer: str, message: TimeoutNow) -> None:
        library = self._core.library
        if message.term == library.term and library.leader_id == peer and self._core.membership.is_member:
            self.force()

    def force(self) -> None:
        """Campaign without asking around first. Always safe; it only disturbs a leader."""
        self._forced = True
        self._core.library.campaign_at_next_tick()


class Handover:
    """The leader's side of giving up the lead: stop taking writes, wait until the heir has everything, tell it."""

    def __init__(self, core: RaftCore) -> None:
        self._core = core
        self._heir: str | None = None
        self._deadline = 0.0
        self._done: Callable[[bool], None] = lambda success: None
        self._complaints: dict[str, float] = {}
        self._gave_up = float("-inf")

    @property
    def under_way(self) -> bool:
        return self._heir is not None

    def start(self, heir: str | None, done: Callable[[bool], None]) -> None:
        library = self._core.library
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
        self._deadline = library.now() + 2 * self._core.config.election_max
        self._core.replicator.wanted = True

    def step(self) -> None:
        library = self._core.library
        if self._heir is None:
            return
        if library.now() > self._deadline or not library.is_other(self._heir):
            self._finish(False)
        elif library.match_index(self._heir) == self._core.last_entry[0]:
            self._core.gate.send(self._heir, TimeoutNow(term=library.term))

    # ------------------------------------------------------------------------ nobody new can connect
    def complain(self) -> None:
        """The follower's side: tell the leader that it takes no new connections."""
        library = self._core.library
        leader = library.leader_id
        if leader is not None and not library.leading:
            self._core.gate.send(leader, Unreachable(term=library.term))

    def complaint(self, peer: str, message: Unreachable) -> None:
        """More than half of those who follow say so: the lead goes to one of them."""
        library, config = self._core.library, self._core.config
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
                extra={"node": self._core.node_id, "managers": complaining},
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
