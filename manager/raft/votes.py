"""Elections: pre-vote, leader stickiness, one vote a term, members' votes counted once."""

from __future__ import annotations

from manager.raft.acquaintance import Acquaintance
from manager.raft.config import RaftConfig
from manager.raft.gate import Gate
from manager.raft.interfaces import Core, Journal
from manager.raft.library import Library, Role
from manager.raft.membership import Membership
from manager.raft.messages import HigherTerm, PreVote, PreVoteReply, RequestVote, TimeoutNow, VoteReply


class Votes:
    """Both sides of an election: asking and granting."""

    def __init__(
        self,
        core: Core,
        config: RaftConfig,
        library: Library,
        gate: Gate,
        journal: Journal,
        membership: Membership,
        acquaintance: Acquaintance,
    ) -> None:
        self._core = core
        self._config = config
        self._library = library
        self._gate = gate
        self._journal = journal
        self._membership = membership
        self._acquaintance = acquaintance
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
        library = self._library
        self.may_campaign = False
        if library.leading or library.election_deadline >= library.now():
            return
        belongs = self._membership.is_member and self._acquaintance.settled
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
            self._gate.send(peer, question)

    def request_vote(self, peer: str) -> None:
        """The library campaigns."""
        index, term = self._core.last_entry
        self._gate.send(
            peer,
            RequestVote(term=self._library.term, last_index=index, last_term=term, transfer=self._transfer),
        )

    def heard_leader(self) -> None:
        self._last_contact = self._library.now()
        self._pre_voters = None
        self._pre_vote_won = False

    def pre_vote_reply(self, peer: str, message: PreVoteReply) -> None:
        library = self._library
        if self._pre_voters is None or message.round != self._round or message.term != library.term + 1:
            return
        if library.is_other(peer):
            self._pre_voters.add(peer)
        if library.quorum(len(self._pre_voters)):
            self._pre_voters = None
            self._pre_vote_won = True
            library.campaign_at_next_tick()

    def vote_reply(self, peer: str, message: VoteReply) -> None:
        library = self._library
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
        return (term, index) >= self._journal.floor(self._acquaintance.generation)

    def _leader_alive(self) -> bool:
        library = self._library
        return library.leading or library.now() - self._last_contact < self._config.election_min

    def pre_vote(self, peer: str, message: PreVote) -> None:
        term = self._library.term
        if message.term <= term:
            self._gate.send(peer, HigherTerm(term=term))
        elif not self._leader_alive() and self.up_to_date(message):
            self._gate.send(peer, PreVoteReply(term=message.term, round=message.round))

    def vote(self, peer: str, message: RequestVote) -> None:
        library = self._library
        if message.term > library.term and self._leader_alive() and not message.transfer:
            return
        if message.term < library.term:
            self._gate.send(peer, HigherTerm(term=library.term))
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
        self._gate.send(peer, VoteReply(term=library.term))

    def higher_term(self, peer: str, message: HigherTerm) -> None:
        if message.term > self._library.term:
            self._library.step_down(message.term)

    def timeout_now(self, peer: str, message: TimeoutNow) -> None:
        library = self._library
        if message.term == library.term and library.leader_id == peer and self._membership.is_member:
            self.force()

    def force(self) -> None:
        """Campaign without asking around first. Always safe; it only disturbs a leader."""
        self._forced = True
        self._library.campaign_at_next_tick()
