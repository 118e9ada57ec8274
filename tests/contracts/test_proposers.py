"""Raft as its users see it: a node on a disk with TLS between members, and the raft of one in memory of most tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from manager.raft.config import RaftConfig
from manager.raft.proposer import Member, Proposer
from pki.root import RootAuthority
from swarmcore.errors import FailedPrecondition, NoLeader, NotFound
from tests.fakes.raft import SoloRaft
from tests.manager.raft.peers import Log, RealMember

M1, M2 = "m1", "m2"


class Bed(Protocol):
    """The founder m1 leads; m2 waits to be added."""

    @property
    def first(self) -> Proposer: ...
    @property
    def log(self) -> Log: ...
    @property
    def m2(self) -> Member: ...


class RealBed:
    def __init__(self, root: RootAuthority, folder: Path) -> None:
        self.members = [RealMember(name, root, folder) for name in (M1, M2)]
        for member in self.members:
            member.config = RaftConfig(heartbeat=0.02, election_min=0.1, election_max=0.2, patience=2.0)

    async def begin(self) -> None:
        founder, joining = self.members
        for member in self.members:
            await member.listen()
        self.first = await founder.start({M1: founder.address})
        await joining.start()
        await self.first.wait_lead(True)
        self.log = founder.log
        self.m2 = Member(node_id=M2, address=joining.address)

    async def end(self) -> None:
        for member in self.members:
            await member.stop()


class SoloBed:
    def __init__(self, root: RootAuthority, folder: Path) -> None:
        self.log = Log()
        self.first = SoloRaft(self.log, node_id=M1)
        self.m2 = Member(node_id=M2, address="10.0.0.2:2377")

    async def begin(self) -> None:
        """It leads from the start."""

    async def end(self) -> None:
        """There is nothing to stop."""


@asynccontextmanager
async def _bed(made: RealBed | SoloBed) -> AsyncIterator[Bed]:
    await made.begin()
    try:
        yield made
    finally:
        await made.end()


@pytest.fixture(scope="module")
def root() -> RootAuthority:
    return RootAuthority.create()


@pytest.fixture(params=[RealBed, SoloBed], ids=["real", "solo"])
async def bed(request: pytest.FixtureRequest, root: RootAuthority, tmp_path: Path) -> AsyncIterator[Bed]:
    make: Callable[[RootAuthority, Path], RealBed | SoloBed] = request.param
    async with _bed(make(root, tmp_path)) as made:
        yield made


async def test_the_founder_leads_a_swarm_of_one_and_says_so_everywhere(bed: Bed) -> None:
    raft, status = bed.first, bed.first.status()
    assert raft.is_leader and raft.leader is not None and raft.leader.node_id == raft.node_id == M1
    assert list(raft.members) == [M1] and raft.members[M1] == raft.leader
    assert (status.node_id, status.leader, status.term) == (M1, M1, raft.term)
    assert (status.members, status.reachable) == (raft.members, {M1: True})
    await raft.wait_lead(True)


async def test_a_write_is_applied_when_its_index_is_told(bed: Bed) -> None:
    first = await bed.first.propose(b"one")
    assert bed.log.data == [b"one"]
    second = await bed.first.propose(b"two")
    assert bed.log.data == [b"one", b"two"]
    assert second > first > 0
    assert bed.first.status().applied_index >= second


async def test_writes_at_once_are_applied_in_the_order_of_their_indexes(bed: Bed) -> None:
    words = [b"%d" % number for number in range(20)]
    indexes = await asyncio.gather(*map(bed.first.propose, words))
    assert len(set(indexes)) == 20
    assert bed.log.data == [word for _, word in sorted(zip(indexes, words, strict=True))]


async def test_a_barrier_is_not_below_what_was_acknowledged(bed: Bed) -> None:
    index = await bed.first.propose(b"one")
    assert await bed.first.read_barrier() >= index


async def test_a_member_is_added_and_added_again_and_moves(bed: Bed) -> None:
    await bed.first.add_member(bed.m2)
    before = bed.first.members
    assert before.keys() == {M1, M2} and before[M2] == bed.m2
    await bed.first.add_member(bed.m2)
    assert bed.first.members == before
    await bed.first.propose(b"with two")
    assert bed.first.status().members == before


async def test_a_member_that_is_not_one_cannot_be_removed(bed: Bed) -> None:
    with pytest.raises(NotFound, match="m2 is not a manager"):
        await bed.first.remove_member(M2)


async def test_a_member_is_removed(bed: Bed) -> None:
    await bed.first.add_member(bed.m2)
    await bed.first.remove_member(M2)
    assert list(bed.first.members) == [M1]
    await bed.first.propose(b"alone again")
    assert bed.first.is_leader


async def test_the_only_manager_keeps_the_lead_and_its_place(bed: Bed) -> None:
    with pytest.raises(FailedPrecondition):
        await bed.first.transfer_lead()
    with pytest.raises(FailedPrecondition):
        await bed.first.remove_member(M1)
    assert bed.first.is_leader and list(bed.first.members) == [M1]


async def test_the_lead_goes_to_no_stranger(bed: Bed) -> None:
    await bed.first.add_member(bed.m2)
    with pytest.raises(FailedPrecondition, match="m7"):
        await bed.first.transfer_lead("m7")
    with pytest.raises(FailedPrecondition, match=M1):
        await bed.first.transfer_lead(M1)
    assert bed.first.is_leader


async def test_who_gave_the_lead_away_knows_who_has_it_and_writes_nothing(bed: Bed) -> None:
    raft = bed.first
    await raft.add_member(bed.m2)
    waiting = asyncio.gather(raft.wait_lead(False), raft.wait_other_leader(M1))
    await raft.transfer_lead(M2)
    await waiting
    assert not raft.is_leader and raft.leader == bed.m2
    assert raft.status().leader == M2
    before = list(bed.log.data)
    with pytest.raises(NoLeader):
        await raft.propose(b"lost")
    with pytest.raises(NoLeader):
        await raft.add_member(Member(node_id="m3", address="10.0.0.3:2377"))
    with pytest.raises(NoLeader):
        await raft.remove_member(M2)
    with pytest.raises(NoLeader):
        await raft.transfer_lead(M2)
    assert bed.log.data == before and raft.members.keys() == {M1, M2}


async def test_a_leader_that_removes_itself_hands_over_first_and_stays_until_the_next_one_removes_it(
    bed: Bed,
) -> None:
    await bed.first.add_member(bed.m2)
    with pytest.raises(NoLeader, match="handed over"):
        await bed.first.remove_member(M1)
    assert not bed.first.is_leader and bed.first.members.keys() == {M1, M2}


async def test_a_follower_reads_what_was_acknowledged_before(bed: Bed) -> None:
    index = await bed.first.propose(b"one")
    await bed.first.add_member(bed.m2)
    await bed.first.transfer_lead(M2)
    assert await bed.first.read_barrier() >= index
    assert bed.log.data == [b"one"]
