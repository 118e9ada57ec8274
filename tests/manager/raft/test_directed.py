"""D1 to D15: what PySyncObj as it comes gets wrong (docs/design/raft.md), each shown right by messages from hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from manager.raft.interfaces import CorruptState, RaftFatal
from manager.raft.messages import (
    KIND_NOOP,
    KIND_REGULAR,
    AppendEntries,
    AppendReply,
    Entry,
    HigherTerm,
    PreVote,
    PreVoteReply,
    RequestVote,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
    TimeoutNow,
    Unreachable,
    VoteReply,
    encode_members,
)
from swarmcore.errors import FailedPrecondition, NoLeader
from tests.manager.raft.hand import Hand, HandClock, elect, forget, replicate
from tests.sim.disk import Crash

Make = Callable[..., list[Hand]]


@pytest.fixture
def make() -> Make:
    clock = HandClock()

    def members(names: str, **config: int) -> list[Hand]:
        return [Hand(name, clock, names, **config) for name in names]

    return members


def regular(first: int, count: int, term: int) -> list[Entry]:
    return [
        (bytes([KIND_REGULAR]) + f"{index}.{term}".encode(), index, term)
        for index in range(first, first + count)
    ]


def entries(
    more: list[Entry], *, term: int, commit: int = 0, previous: tuple[int, int] = (2, 0)
) -> AppendEntries:
    """The founders' log ends at entry 2 of term 0."""
    index, of_term = previous
    return AppendEntries(
        term=term, sequence=1, commit_index=commit, previous_index=index, previous_term=of_term, entries=more
    )


def snapshot_of(index: int, data: bytes, term: int = 1) -> SnapshotMeta:
    members = {name: f"{name}:2377" for name in "abc"}
    digest = hashlib.sha256(data).digest()
    return SnapshotMeta(index=index, term=term, members=members, size=len(data), digest=digest)


def test_d1_entries_sent_again_and_stale_rejections_truncate_nothing(make: Make) -> None:
    a, b, c = make("abc", batch_bytes=60)
    assert elect(a, [b])
    replicate(a, [b])
    told = a.write(*(f"word number {number:02}" for number in range(14)))
    pipelined = a.take("b", AppendEntries)
    assert len(pipelined) > 2
    for message in pipelined[1:]:  # the first one is lost with its connection
        b.receive("a", message)
    rejections = b.take("a", AppendReply)
    assert [reply.accepted for reply in rejections] == [False] * len(rejections)
    a.receive("b", rejections[0])
    again = a.take("b", AppendEntries)
    b.receive("a", *again)
    a.receive("b", *b.take("a", AppendReply))
    replicate(a, [b])
    assert len(told) == 14 and a.commit == b.last
    last = b.last
    for stale in rejections[1:]:
        a.receive("b", stale)
    b.receive("a", *a.take("b", AppendEntries)[:1])
    b.receive("a", again[0])
    b.receive("a", again[0])
    assert b.last == last
    forget(a, b, c)
    assert elect(b, [c])
    replicate(b, [c])
    assert len(b.words.state) == 14 == len(c.words.state)


def test_d2_an_acknowledgement_of_an_earlier_term_counts_for_nothing(make: Make) -> None:
    a, b, c, d, e = make("abcde")
    assert elect(a, [b, c])
    told: list[int | None] = []
    for number in range(4):
        a.core.append(bytes([KIND_REGULAR, number]), told.append)
    a.tick()
    b.receive("a", *a.take("b", AppendEntries))
    late = b.take("a", AppendReply)
    assert late[-1].next_index == 8
    forget(a, b, c)
    a.clock.time += 1
    assert elect(c, [d, e])  # neither has heard of the old entries: c overwrites them
    replicate(c, [a, b])
    forget(*(a, b, c, d, e))
    a.clock.time += 1
    assert elect(a, [d, e])
    assert told == [None] * 4
    for number in range(6):
        a.core.append(bytes([KIND_REGULAR, number]), told.append)
    a.tick()
    a.receive("b", *late)
    a.receive("c", *late)
    assert a.leads and a.last > 8 and a.commit < a.last
    assert a.core.library.match_index("b") == 0 == a.core.library.match_index("c")


def test_d3_one_change_of_members_at_a_time_and_none_before_an_entry_of_the_own_term(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    changed: list[int | None] = []
    with pytest.raises(NoLeader):  # it leads, but what it began with is not committed
        a.core.membership.add("d", "d:2377", changed.append)
    assert not a.core.membership.can_change()
    replicate(a, [b, c])
    a.core.membership.add("d", "d:2377", changed.append)
    for attempt in ("e", "f"):
        with pytest.raises(FailedPrecondition, match="another change"):
            a.core.membership.add(attempt, "", changed.append)
    with pytest.raises(FailedPrecondition, match="another change"):
        a.core.membership.remove("b", changed.append)
    assert sorted(a.core.membership.members) == ["a", "b", "c", "d"]
    replicate(a, [b, c])
    assert len(changed) == 1
    a.core.membership.remove("b", changed.append)
    assert sorted(a.core.membership.members) == ["a", "c", "d"]


@pytest.mark.parametrize("power", [True, False])
def test_d4_a_crash_between_the_snapshot_and_the_trim_keeps_the_tail(make: Make, power: bool) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 8, 1), term=1, commit=6))
    assert len(b.words.state) == 4
    b.core.snapshots.write(6, 1, b.core.membership.configuration, b.core.machine.snapshot()())
    b.restart(power=power)  # the journal was not trimmed
    assert b.log[-8:] == [(index, 1) for index in range(3, 11)]
    b.receive("a", entries([], term=1, commit=10, previous=(10, 1)))
    assert b.words.state == [f"{index}.1".encode() for index in range(3, 11)]


def test_d5_a_callback_that_fails_applies_nothing_twice(make: Make) -> None:
    (a,) = make("a")
    assert elect(a, [])
    a.tick()

    def fails(index: int | None) -> None:
        raise RuntimeError("callback")

    a.core.propose(b"one", fails)
    with pytest.raises(RuntimeError):
        a.tick()
    a.tick()
    a.tick()
    assert a.words.state == [b"one"]


def test_d5_a_state_machine_that_fails_stops_the_manager_and_names_the_entry(make: Make) -> None:
    (a,) = make("a")
    assert elect(a, [])
    a.tick()
    told: list[int | None] = []
    a.core.propose(b"boom", told.append)
    with pytest.raises(RaftFatal, match="failed at entry 4"):
        a.tick()
    a.core.abandon()
    a.core.run_callbacks()
    assert told == [None]


@pytest.mark.parametrize("damage", [b"wrong data!", b"short", b"much longer than what was announced"])
def test_d6_a_snapshot_that_is_not_what_it_says_is_neither_installed_nor_acknowledged(
    make: Make, damage: bytes
) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 2, 1), term=1, commit=4))
    forget(b)
    meta = snapshot_of(90, b"right data!")
    sent = damage.ljust(len(b"right data!"), b"?") if len(damage) < meta.size else damage
    b.receive("c", SnapshotChunk(term=5, sequence=1, snapshot=meta, offset=0, data=sent))
    assert b.take("c", AppendReply) == []
    (reply,) = b.take("c", SnapshotReply)
    assert reply.received == 0
    assert (b.last, b.commit, b.words.state) == (4, 4, [b"3.1", b"4.1"])
    assert b.core.snapshots.open() is None
    b.receive("c", SnapshotChunk(term=5, sequence=2, snapshot=meta, offset=0, data=b"right data!"))
    assert [answer.next_index for answer in b.take("c", AppendReply)] == [91]
    assert (b.last, b.commit, b.words.state) == (90, 90, [b"right data!"])
    b.restart()
    assert (b.last, b.commit, b.words.state) == (90, 90, [b"right data!"])


def test_d7_an_older_snapshot_rewinds_nothing(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 9, 1), term=1, commit=10))
    forget(b)
    before = (b.log, b.commit, list(b.words.state))
    data = b"3.1"
    b.receive("a", SnapshotChunk(term=1, sequence=2, snapshot=snapshot_of(3, data), offset=0, data=data))
    assert (b.log, b.commit, b.words.state) == before
    assert [reply.next_index for reply in b.take("a", AppendReply)] == [4]
    assert b.core.snapshots.open() is None


def test_d7_a_snapshot_of_what_the_log_holds_keeps_the_logs_tail(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 9, 1), term=1, commit=4))
    data = b"3.1\n4.1\n5.1\n6.1"
    b.receive("a", SnapshotChunk(term=1, sequence=2, snapshot=snapshot_of(6, data), offset=0, data=data))
    assert (b.last, b.commit, len(b.words.state)) == (11, 6, 4)
    b.restart()
    assert (b.last, b.commit, len(b.words.state)) == (11, 6, 4)


def test_d8_a_change_of_members_holds_from_the_log_on_also_after_a_restart_until_it_is_truncated(
    make: Make,
) -> None:
    b, *_ = make("bac")
    four = {name: f"{name}:2377" for name in "abcd"}
    b.receive("a", entries([(encode_members(four), 3, 1)], term=1))
    assert sorted(b.core.membership.members) == ["a", "b", "c", "d"]
    b.restart()
    assert sorted(b.core.membership.members) == ["a", "b", "c", "d"] and b.commit < 3
    b.receive("c", entries(regular(3, 1, 2), term=2))
    assert sorted(b.core.membership.members) == ["a", "b", "c"]
    b.restart()
    assert sorted(b.core.membership.members) == ["a", "b", "c"]


def test_d9_a_vote_counts_once_and_only_from_members(make: Make) -> None:
    a, b, *_ = make("abcde")
    elect(a, [])
    term = a.core.library.term
    for voter in ("stranger", "another", "b", "b", "b"):
        a.receive(voter, VoteReply(term=term))
    assert not a.leads
    a.receive("c", VoteReply(term=term - 1))
    assert not a.leads
    a.receive("c", VoteReply(term=term))
    assert a.leads


def test_d9_pre_votes_of_strangers_do_not_count_either(make: Make) -> None:
    a, *_ = make("abc")
    a.tick(after=2)
    (question, *_) = a.take("b", PreVote)
    answer = PreVoteReply(term=question.term, round=question.round)
    a.receive("stranger", answer)
    a.receive("b", PreVoteReply(term=question.term, round=question.round - 1))
    assert a.take("b", RequestVote) == [] and a.core.library.term == question.term - 1
    a.receive("b", answer)
    assert [request.term for request in a.take("b", RequestVote)] == [question.term]


def test_d10_answers_of_removed_members_and_strangers_are_ignored(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b, c])
    told: list[int | None] = []
    a.core.membership.remove("c", told.append)
    replicate(a, [b])
    assert len(told) == 1
    commit = a.commit
    term = a.core.library.term
    a.core.append(bytes([KIND_NOOP]), told.append)
    for peer in ("c", "stranger"):
        a.receive(
            peer,
            AppendReply(term=term, sequence=a.core.replicator.sequence, accepted=True, next_index=a.last + 1),
        )
        a.receive(peer, SnapshotReply(term=term, sequence=1, index=3, received=1))
    assert a.leads and a.commit == commit


def test_d11_a_leader_of_the_past_is_told_and_steps_down(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b])
    told = a.write("nobody else hears this")
    b.clock.time += 1
    assert elect(b, [c])
    b.receive("a", *a.take("b", AppendEntries))
    a.receive("b", *b.take("a", HigherTerm))
    assert not a.leads and a.core.library.term == b.core.library.term
    a.tick()
    assert told == [None]  # nobody can tell


def test_d11_a_leader_that_hears_no_majority_steps_down_and_confirms_no_reads(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b, c])
    reads: list[int | None] = []
    a.core.reads.start(reads.append)
    a.tick(after=0.5 * a.config.election_max)
    assert a.leads and reads == []
    a.tick(after=0.6 * a.config.election_max)
    a.tick()
    assert not a.leads and reads == [None]


def test_d11_a_read_needs_answers_to_what_was_sent_after_it_was_asked(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b, c])
    a.tick(after=a.config.heartbeat * 1.01)
    b.receive("a", *a.take("b", AppendEntries))
    before = b.take("a", AppendReply)
    reads: list[int | None] = []
    a.core.reads.start(reads.append)
    a.receive("b", *before)
    assert reads == []
    b.receive("a", *a.take("b", AppendEntries))
    a.receive("b", *b.take("a", AppendReply))
    assert reads == [a.commit]


def test_d11_a_member_that_comes_back_does_not_disturb_the_leader(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b])
    term = a.core.library.term
    for _ in range(30):  # cut off, c asks around, and its term does not grow
        replicate(a, [b], rounds=1)
        c.tick()
    assert len(c.take("a", PreVote)) > 2
    assert c.core.library.term <= term
    for member in (a, b):
        member.receive("c", PreVote(term=term + 1, round=1, last_index=99, last_term=99))
        assert member.take("c", PreVoteReply) == []
        member.receive("c", RequestVote(term=term + 7, last_index=99, last_term=99))
    assert a.leads and a.core.library.term == term == b.core.library.term


def test_d12_a_vote_leaves_only_when_it_survives_any_crash(make: Make) -> None:
    """Power goes at each disk operation of granting a vote: either it never left, or it is remembered."""
    for fatal in range(1, 8):
        b, *_ = make("bac")
        countdown = fatal

        def hook(operation: str) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown == 0:
                raise Crash(operation)

        b.disk.hook = hook
        try:
            b.receive("a", RequestVote(term=7, last_index=2, last_term=0))
        except Crash:
            pass
        left = b.take("a", VoteReply)
        b.restart()
        if left:
            assert (b.core.library.term, b.core.library.voted_for) == (7, "a")
            b.receive("c", RequestVote(term=7, last_index=99, last_term=6))
            assert b.take("c", VoteReply) == []
    assert left  # the last one was past the end


def test_d13_a_flipped_bit_in_the_journal_is_not_replayed(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 3, 1), term=1, commit=5))
    (name,) = b.disk.listdir()
    b.disk.flip(name, 8 * (len(b.disk.read(name)) - 60))
    with pytest.raises(CorruptState, match=name):
        b.restart()


def test_d14_a_conflicting_term_is_skipped_in_one_step(make: Make) -> None:
    """So a log is mended although answers take longer than a heartbeat."""
    a, b, c = make("abc")
    b.receive("c", entries(regular(3, 30, 1), term=1))  # c led, and only b heard of it
    a.receive("c", entries(regular(3, 30, 2), term=2))
    c.receive("a", entries(regular(3, 30, 2), term=2))
    forget(a, b, c)
    a.clock.time += 2
    assert elect(a, [c])
    replicate(a, [b], rounds=3)
    assert b.log == a.log and a.commit == a.last


def test_d15_members_that_were_demoted_and_are_back_do_not_elect_a_removed_one_that_never_heard(
    make: Make,
) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b, c])
    changed: list[int | None] = []
    a.core.membership.remove("c", changed.append)  # c is cut off, and still counts on all three
    replicate(a, [b])
    a.write("more")
    replicate(a, [b])
    assert changed[0] is not None and c.last < a.last == b.last
    for member in (a, b):  # others took their places; later they may join again
        member.demote()
        assert member.core.membership.members == {} and member.words.state == []
    a.clock.time += 1
    assert not elect(c, [a, b])
    assert c.core.library.term >= a.core.library.term


def test_d15_a_demoted_member_votes_once_a_term_also_when_it_is_back(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("a", RequestVote(term=7, last_index=2, last_term=0))
    assert len(b.take("a", VoteReply)) == 1
    b.demote()
    b.receive("c", RequestVote(term=7, last_index=99, last_term=6))
    assert b.take("c", VoteReply) == []
    b.receive("c", RequestVote(term=8, last_index=99, last_term=6))
    assert len(b.take("c", VoteReply)) == 1


def test_d15_one_that_catches_up_does_not_campaign_in_a_configuration_of_the_past(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 20, 1), term=1, commit=10))
    b.demote()
    b.receive("a", entries([(encode_members({"b": "b:2377"}), 2, 0)], term=1, previous=(1, 0)))
    b.tick(after=2)
    b.tick(after=2)
    assert b.core.membership.is_member and not b.leads
    b.receive("a", entries(regular(3, 20, 1), term=1, commit=22, previous=(2, 0)))
    b.tick(after=2)
    assert b.leads


def test_a_stranger_does_not_lead_when_its_deadline_passes_between_two_looks_at_the_clock(make: Make) -> None:
    """The simulator's churn plan, seed 15."""
    (a,) = make("a")
    a.demote()
    for early in range(8):
        a.clock.time = a.core.library.election_deadline - early * 1e-6
        a.core.tick()
        assert not a.leads


def test_a_follower_commits_only_what_the_message_proved_to_be_the_leaders(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("c", entries(regular(3, 8, 1), term=1))  # a tail that nobody else has
    b.receive("a", entries([], term=2, commit=6))
    assert (b.commit, b.words.state) == (2, [])
    b.receive("a", entries(regular(3, 2, 2), term=2, commit=6))
    assert (b.commit, b.last, b.words.state) == (4, 4, [b"3.2", b"4.2"])


def test_a_leader_that_contradicts_what_is_committed_stops_this_member(make: Make) -> None:
    b, *_ = make("bac")
    b.receive("a", entries(regular(3, 5, 1), term=1, commit=5))
    with pytest.raises(RaftFatal, match="truncate the committed entry 4"):
        b.receive("c", entries(regular(4, 2, 2), term=2, previous=(3, 1)))
    with pytest.raises(RaftFatal, match="conflicts with the committed entry 5"):
        b.receive("c", entries([], term=2, previous=(5, 2)))
    b.restart()
    assert b.log[-5:] == [(index, 1) for index in range(3, 8)]


def test_a_snapshot_carries_the_members_of_its_last_entry_and_not_those_of_a_change_under_way(
    make: Make,
) -> None:
    b, *_ = make("bac", snapshot_entries=6)
    four = {name: f"{name}:2377" for name in "abcd"}
    b.receive("a", entries([*regular(3, 6, 1), (encode_members(four), 9, 1)], term=1, commit=8))
    snapshot = b.core.snapshots.load()
    assert snapshot is not None and snapshot.meta.index == 8
    assert sorted(snapshot.meta.members) == ["a", "b", "c"]
    assert sorted(b.core.membership.members) == ["a", "b", "c", "d"]


def test_followers_hear_of_a_commit_at_once_and_not_a_heartbeat_later(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b, c])
    a.write("x")
    b.receive("a", *a.take("b", AppendEntries))
    a.receive("b", *b.take("a", AppendReply))
    c.receive("a", *a.take("c", AppendEntries))
    assert c.words.state == [b"x"]


# ------------------------------------------------------------------------ a leader that nobody new can reach
def test_a_leader_gives_up_the_lead_when_most_of_those_who_follow_cannot_connect(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b, c])
    replicate(a, [b, c])
    b.core.handover.complain()
    (complaint,) = b.take("a", Unreachable)
    a.receive("b", complaint)
    assert not a.core.handover.under_way, "one of two may have a fault of its own"
    c.core.handover.complain()
    a.receive("c", *c.take("a", Unreachable))
    assert a.core.handover.under_way
    replicate(a, [b, c])
    assert any(isinstance(message, TimeoutNow) for _, message in a.outbox), "one of them is told to lead"


def test_old_complaints_those_of_strangers_and_of_other_terms_count_for_nothing(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b, c])
    replicate(a, [b, c])
    now = Unreachable(term=a.core.library.term)
    a.receive("z", now)
    a.receive("b", now)
    a.receive("c", Unreachable(term=now.term - 1))
    for _ in range(60):  # it can be reached again, and long after that somebody else complains
        a.clock.time += 0.3
        replicate(a, [b, c], rounds=1)
    a.receive("c", now)
    assert a.leads and not a.core.handover.under_way


def test_where_nobody_can_connect_to_anybody_the_lead_does_not_go_round(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b, c])
    replicate(a, [b, c])
    for _ in range(2):
        for peer in "bc":
            a.receive(peer, Unreachable(term=a.core.library.term))
        assert a.core.handover.under_way
        while a.core.handover.under_way:  # nobody takes it
            a.clock.time += 0.1
            replicate(a, [b, c])
        for peer in "bc":
            a.receive(peer, Unreachable(term=a.core.library.term))
        assert not a.core.handover.under_way, "not again so soon"
        for _ in range(250):
            a.clock.time += 0.5
            replicate(a, [b, c], rounds=1)
        assert a.leads


def test_a_member_that_is_alone_leads_at_once_also_when_it_starts_again(make: Make) -> None:
    """Nobody could answer, so no silence has to be waited for."""
    (alone,) = make("a")
    alone.tick()
    assert alone.leads
    assert alone.write("one") != [None]
    alone.restart()
    alone.tick()
    assert alone.leads
    assert alone.words.state == [b"one"]


def test_a_member_that_knows_of_others_asks_them_first(make: Make) -> None:
    for member in make("ab"):
        member.tick()
        assert not member.leads
