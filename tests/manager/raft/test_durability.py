"""What raft promised survives a crash at any disk operation; the commit rule counts only what is durable."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from manager.raft.config import RaftConfig
from manager.raft.interfaces import CorruptState
from manager.raft.messages import KIND_REGULAR, AppendEntries, AppendReply
from tests.manager.raft.hand import Hand, HandClock, elect, replicate
from tests.sim.disk import Crash, SimDisk

POWER = pytest.mark.parametrize("power", [False, True], ids=["kill -9", "power loss"])


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def dies_at(disk: SimDisk, operation: int) -> None:
    """Kill the process at its disk operation of that number, from 0."""
    left = operation

    def hook(name: str) -> None:
        nonlocal left
        if left == 0:
            raise Crash(name)
        left -= 1

    disk.hook = hook


def outlives(act: Callable[[], None]) -> bool:
    try:
        act()
    except Crash:
        return False
    return True


def of_another_leader(term: int) -> AppendEntries:
    return AppendEntries(
        term=term,
        sequence=1,
        commit_index=1,
        previous_index=2,
        previous_term=0,
        entries=[(bytes([KIND_REGULAR]) + b"x", 3, term)],
    )


@POWER
def test_an_acknowledgement_leaves_only_when_it_survives_any_crash(clock: HandClock, power: bool) -> None:
    for fatal in range(30):
        member = Hand("b", clock, "abc")
        dies_at(member.disk, fatal)
        through = outlives(lambda member=member: member.receive("a", of_another_leader(1)))  # type: ignore[misc]
        left = any(reply.accepted for reply in member.take("a", AppendReply))
        member.restart(power=power)
        assert not left or (3, 1) in member.log
        if through:
            assert left
            return
    pytest.fail("it never got through")


@POWER
def test_a_crash_anywhere_around_snapshots_and_segments_loses_nothing_acknowledged(
    clock: HandClock, power: bool
) -> None:
    crashes = snapshots = 0
    for fatal in range(0, 300, 3):
        member = Hand("a", clock, "a", snapshot_entries=8)
        assert elect(member, [])
        member.tick()
        acknowledged: list[bytes] = []

        def work(member: Hand = member, acknowledged: list[bytes] = acknowledged) -> None:
            for number in range(40):
                told = member.write(f"w{number}")
                member.tick()
                if told and told[0] is not None:
                    acknowledged.append(f"w{number}".encode())

        dies_at(member.disk, fatal)
        crashes += not outlives(work)
        member.restart(power=power)
        assert elect(member, [])
        member.tick()
        assert member.words.state[: len(acknowledged)] == acknowledged
        snapshots += "snapshot" in member.disk.listdir()
    assert crashes > 30
    assert snapshots > 30


def test_a_leader_does_not_count_itself_for_what_it_has_not_synced(clock: HandClock) -> None:
    a, b = (Hand(name, clock, "abc") for name in "ab")
    assert elect(a, [b])
    replicate(a, [b])
    told: list[int | None] = []
    a.core.propose(b"x", told.append)
    a.core.replicator.flush()  # the follower's disk is the faster one
    b.receive("a", *a.take("b", AppendEntries))
    dies_at(a.disk, 0)
    assert not outlives(lambda: a.receive("b", *b.take("a", AppendReply)))
    assert (told, a.commit) == ([], a.last - 1)


def test_an_entry_of_an_earlier_term_is_not_committed_by_counting_who_holds_it(clock: HandClock) -> None:
    a, c = (Hand(name, clock, "abc") for name in "ac")
    a.receive("b", of_another_leader(1))  # b led, and only a heard of it
    clock.time += RaftConfig().election_max
    assert elect(a, [c])

    def holds(index: int) -> AppendReply:
        sequence, term = a.core.replicator.sequence, a.core.library.term
        return AppendReply(term=term, sequence=sequence, accepted=True, next_index=index + 1)

    a.receive("c", holds(3))
    assert a.commit < 3  # a majority holds entry 3, but a leader that lacks it could still be elected
    a.receive("c", holds(a.last))
    assert a.commit == a.last > 3


def test_a_member_whose_journal_is_gone_does_not_start_as_if_it_had_never_voted(clock: HandClock) -> None:
    member = Hand("a", clock, "a", snapshot_entries=8)
    assert elect(member, [])
    member.tick()
    for number in range(20):
        member.write(f"w{number}")
    for name in member.disk.listdir():
        if name != "snapshot":
            member.disk.unlink(name)
    with pytest.raises(CorruptState, match="gone"):
        member.restart(power=False)
