"""A leader to which nobody can make a new connection gives up its lead, though the old ones go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from manager.membership.reach import ATTEMPTS, Reach
from manager.raft.proposer import Member
from pki.root import RootAuthority
from swarmcore.aio import owned
from tests.manager.raft.peers import RealMember, leader_of, trio_of
from tests.pki.clock import ManualClock
from tests.worker.sample import until


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[list[RealMember]]:
    root = RootAuthority.create()
    async with trio_of(root, tmp_path) as members:
        yield members


async def knock(members: list[RealMember], rounds: int) -> None:
    """All of them look so many times, one after the other."""
    clock = ManualClock()
    reaches = [Reach(m.raft, m.contexts.client_now, clock, Random(1)) for m in members]
    looked = [0] * len(members)

    async def run(place: int) -> None:
        while looked[place] < rounds:
            leader = members[place].raft.leader
            if leader is not None and leader.node_id != members[place].name:
                await reaches[place]._look(leader)
            looked[place] += 1

    async with asyncio.TaskGroup() as group:
        for place in range(len(members)):
            group.create_task(run(place))


async def test_a_leader_whose_port_takes_nobody_any_more_gives_the_lead_up(trio: list[RealMember]) -> None:
    leader = await leader_of(trio)
    for member in trio:
        await until(lambda member=member: member.raft.leader is not None)  # type: ignore[misc]
    await knock(trio, ATTEMPTS + 1)
    assert leader.raft.is_leader, "all can connect"
    await leader.raft.propose(b"before")
    assert leader.server._listener is not None
    listening = leader.server._listener._socket
    assert listening is not None
    leader.server._listener._pause()  # what is open goes on
    leader.server._listener._socket = None
    listening.close()
    await knock(trio, ATTEMPTS + 1)
    async with asyncio.timeout(10):
        await leader.raft.wait_lead(False)
    others = [member for member in trio if member is not leader]
    new = await leader_of(others)
    await new.raft.propose(b"after")
    await leader.raft.wait_until(lambda: leader.log.data == [b"before", b"after"])


@pytest.mark.parametrize("days", [-1, 100], ids=["set back a day", "ahead of every certificate's end"])
async def test_a_leader_whose_clock_is_set_goes_on_taking_new_connections(
    trio: list[RealMember], days: int
) -> None:
    leader = await leader_of(trio)
    for member in trio:  # their clocks agreed before
        await until(lambda member=member: len(member.clock._managers) == 2)  # type: ignore[misc]
    leader.own_clock.wrong = timedelta(days=days)
    assert leader.clock.complaint.startswith("this host's clock is about")
    await knock(trio, ATTEMPTS + 1)
    assert leader.raft.is_leader
    follower = next(member for member in trio if member is not leader)
    await follower.stop()
    await leader.raft.propose(b"while it was away")
    await follower.listen()
    await follower.start()  # all its connections are new
    await follower.raft.read_barrier()
    assert follower.log.data == [b"while it was away"]
    await until(lambda: not follower.clock.complaint)  # it hears the third one too
    assert leader.raft.is_leader


async def test_it_knocks_now_and_then_and_not_at_itself() -> None:
    clock = ManualClock()
    asked: list[str] = []

    class Alone:
        node_id = "m1"

        @property
        def leader(self) -> Member:
            asked.append("leader")
            return Member(node_id="m1", address="nowhere:1")

        def leader_is_unreachable(self) -> None:
            raise AssertionError("it leads itself")

    def context() -> None:
        raise AssertionError("it does not knock")

    async with owned(Reach(Alone(), context, clock, Random(1)).run(), "reach"):  # type: ignore[arg-type]
        for _ in range(3):
            assert 4.0 <= await clock.advance_to_next() <= 6.0
    assert len(asked) == 3
