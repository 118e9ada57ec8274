"""Whom a member listens to: its own members, whoever introduces itself, and nobody of another generation."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.raft.fence import Fence
from manager.raft.interfaces import CorruptState
from manager.raft.messages import (
    KIND_MEMBERSHIP,
    AppendEntries,
    AppendReply,
    Configuration,
    Introduction,
    PreVote,
    RequestVote,
    SnapshotChunk,
    SnapshotMeta,
    VoteReply,
    WhoAreYou,
    decode_configuration,
    encode_configuration,
)
from manager.raft.recovery import Recovery, force_new_cluster
from manager.raft.snapshots import SnapshotStore
from manager.raft.storage import Wal
from swarmcore.model.generation import FIRST, Generation
from tests.manager.raft.hand import KEYS, Hand, elect, forget, replicate
from tests.manager.raft.test_directed import Make, make
from tests.sim.disk import SimDisk

__all__ = ["make"]
WHEN = datetime(2026, 11, 30, 15, 4, tzinfo=UTC)
NEXT = FIRST.next("another", WHEN)
generations = st.none() | st.builds(
    Generation, id=st.sampled_from("abc"), number=st.integers(0, 2), began=st.integers(0, 2)
)


def recover(member: Hand, id: str = "another") -> Generation:
    """`--force-new-cluster`, and a start on it."""
    member.disk.crash(power=False)
    journal = Wal(member.disk, KEYS, trailing=2)
    recovery = Recovery(address=f"{member.name}:2377", generation_id=id, now=WHEN)
    generation = force_new_cluster(
        member.name, recovery, journal, SnapshotStore(member.disk, KEYS, chunk=100)
    )
    journal.close()
    member.start()
    return generation


# ------------------------------------------------------------------------ on disk
def test_configurations_and_snapshots_without_a_generation_are_those_of_the_first() -> None:
    members = {"m1": "10.0.0.1:2377", "m2": "10.0.0.2:2377"}
    old = bytes([KIND_MEMBERSHIP]) + msgspec.msgpack.encode(members)
    assert decode_configuration(old) == Configuration(members=members)
    assert encode_configuration(Configuration(members=members)) == old, "older versions read it too"
    meta = msgspec.msgpack.decode(msgspec.msgpack.encode([7, 2, members, 3, b"d"]), type=SnapshotMeta)
    assert meta.configuration == Configuration(members=members, generation=FIRST)


def test_a_generation_comes_back_from_the_journal_and_from_a_snapshot(make: Make) -> None:
    (a,) = make("a", snapshot_entries=5)
    generation = recover(a)
    assert (generation.id, generation.number) == ("another", 1)
    a.tick(2)
    a.tick()
    assert a.leads
    for number in range(20):
        a.write(f"{number}")
        a.tick()
    assert a.core.journal[0][1] > 3, "the configuration's own entry is in the snapshot only"
    a.restart()
    assert a.core.acquaintance.generation == generation
    assert recover(a, "third").number == 2


def test_a_swarm_cannot_be_recovered_from_nothing() -> None:
    disk = SimDisk()
    recovery = Recovery(address="a:2377", generation_id="x", now=WHEN)
    with pytest.raises(CorruptState):
        force_new_cluster("a", recovery, Wal(disk, KEYS), SnapshotStore(disk, KEYS))


# ------------------------------------------------------------------------ the fence between streams
@given(one=generations, other=generations)
def test_both_ends_of_a_stream_judge_alike_and_exactly_one_is_left_behind(
    one: Generation | None, other: Generation | None
) -> None:
    ours, theirs = Fence(lambda: one), Fence(lambda: other)
    assert ours.admits(theirs.frame()) == theirs.admits(ours.frame())
    assert ours.admits(other) == (None in (one, other) or one == other)
    assert ours.left_behind_by(other) == theirs.ahead_of(one)


# ------------------------------------------------------------------------ the core's own rule
def test_appends_votes_and_snapshots_of_strangers_are_not_taken(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b])
    before, term = b.log, b.core.library.term
    strange = AppendEntries(
        term=9, sequence=1, commit_index=3, previous_index=2, previous_term=0, entries=[(b"\x00x", 3, 9)]
    )
    meta = SnapshotMeta(index=9, term=9, members={"z": "z:2377"}, size=0, digest=b"")
    whole = SnapshotChunk(term=9, sequence=1, snapshot=meta, offset=0, data=b"")
    for message in (strange, whole, RequestVote(term=9, last_index=99, last_term=9, transfer=True)):
        b.receive("z", message)
    assert (b.log, b.core.library.term) == (before, term)
    assert len(b.take("z", WhoAreYou)) == 3
    assert not b.take("z", AppendReply) and not b.take("z", VoteReply)


def test_a_recovered_member_does_not_listen_to_those_that_were_left_behind(make: Make) -> None:
    a, b, c = make("abc")
    assert elect(a, [b])
    replicate(a, [b, c])
    a.write("kept")
    replicate(a, [b, c])
    forget(a, b, c)
    recover(c)
    c.tick(2)
    c.tick()
    assert c.leads
    c.write("new")
    a.write("old")
    replicate(a, [b, c])
    assert elect(b, [a, c])
    replicate(b, [a, c])
    # They say who they are when they are asked: of the generation before.
    for asked in (a, b):
        asked.receive("c", *c.take(asked.name, WhoAreYou))
        c.receive(asked.name, *asked.take("c", Introduction))
    replicate(b, [a, c])
    assert c.leads and c.words.state == [b"kept", b"new"]
    assert b.words.state == [b"kept", b"old"]


def test_a_member_that_was_away_listens_to_a_leader_that_came_while_it_was(make: Make) -> None:
    a, b, c = make("abc")
    d = Hand("d", a.clock, "")
    assert elect(a, [b, c])
    replicate(a, [b, c])
    a.core.membership.add("d", "d:2377", lambda index: None)
    replicate(a, [b, d], rounds=6)  # c is away
    assert "d" in d.core.membership.members and "d" not in c.core.membership.members
    forget(a, b, c, d)
    assert elect(d, [a, b])
    replicate(d, [a, b])
    d.write("by a stranger")
    replicate(d, [c])
    assert c.words.state == []
    d.receive("c", *c.take("d", WhoAreYou))
    c.receive("d", *d.take("c", Introduction))
    replicate(d, [a, b, c], rounds=6)
    assert c.words.state == [b"by a stranger"] and "d" in c.core.membership.members


def test_who_joins_listens_to_the_swarm_that_it_joins_by_and_not_to_its_past(make: Make) -> None:
    (a,) = make("a")
    joins = Hand("b", a.clock, "")
    joins.core.acquaintance.join(NEXT)
    both = {"a": "a:2377", "b": "b:2377"}
    joins.core.receive("a", Introduction(term=0, configuration=Configuration(members=both)))
    assert not joins.core.acquaintance.takes_from("a"), "it is of another generation"
    of_it = Configuration(members={"a": "a:2377"}, generation=NEXT)
    joins.core.receive("a", Introduction(term=0, configuration=of_it))
    assert not joins.core.acquaintance.takes_from("a"), "it does not know of the one that joins"
    joins.core.receive("a", Introduction(term=0, configuration=Configuration(members=both, generation=NEXT)))
    assert joins.core.acquaintance.takes_from("a")


def test_who_joins_a_recovered_swarm_reads_through_its_past_without_belonging_to_it(make: Make) -> None:
    (a,) = make("a")
    joins = Hand("b", a.clock, "")
    joins.core.acquaintance.join(NEXT)
    both = Configuration(members={"a": "a:2377", "b": "b:2377"}, generation=NEXT)
    joins.core.receive("a", Introduction(term=0, configuration=both))
    past = encode_configuration(Configuration(members={"b": "b:2377", "c": "c:2377"}))
    first = AppendEntries(
        term=1, sequence=1, commit_index=2, previous_index=1, previous_term=0, entries=[(past, 2, 0)]
    )
    joins.core.receive("a", first)
    joins.tick()
    assert set(joins.core.membership.members) == {"b", "c"}
    assert joins.core.acquaintance.generation == NEXT, "its frames name the swarm that it joins"
    assert not joins.core.acquaintance.takes_from("c"), "a member of the past only"
    joins.outbox = []
    for _ in range(5):
        joins.tick(2)
    assert not joins.take("c", PreVote) and not joins.leads, "it does not campaign among the past's members"
    now = encode_configuration(both)
    rest = AppendEntries(
        term=1, sequence=2, commit_index=3, previous_index=2, previous_term=0, entries=[(now, 3, 1)]
    )
    joins.core.receive("a", Introduction(term=0, configuration=both))
    joins.core.receive("a", rest)
    joins.tick()
    assert joins.core.acquaintance.settled and joins.core.acquaintance.takes_from("a")
