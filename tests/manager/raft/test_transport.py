"""Raft between real managers: mTLS links, joining, losing the leader, restarts, strangers and garbage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from manager.raft.config import RaftConfig
from manager.raft.fence import Fence
from manager.raft.messages import AppendEntries, Heartbeat
from manager.raft.open import open_raft
from manager.raft.proposer import Member
from manager.raft.recovery import Recovery
from manager.raft.transport import BUFFER, RaftTransport
from pki.contexts import Contexts
from pki.root import RootAuthority
from pki.seal import DataKeyFile
from swarmcore.clock import AgreedClock, RealClock
from swarmcore.errors import Conflict, FailedPrecondition, Superseded, SwarmError, WrongRole
from swarmcore.model.generation import FIRST, Generation
from swarmcore.model.node import NodeRole
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.codec import decode
from swarmcore.rpc.messages.raft import AskGeneration, GenerationReply, RaftStream, RaftWelcome
from tests.manager.raft.peers import Log, RealMember, leader_of, trio_of
from tests.pki.nodes import CLUSTER, node
from tests.worker.sample import until


def recovery_at(address: str) -> Recovery:
    return Recovery(address=address, generation_id="another", now=datetime(2026, 11, 30, 15, 4, tzinfo=UTC))


@pytest.fixture(scope="module")
def root() -> RootAuthority:
    return RootAuthority.create()


@pytest.fixture
async def trio(root: RootAuthority, tmp_path: Path) -> AsyncIterator[list[RealMember]]:
    """m1 founded the swarm, m2 and m3 joined."""
    async with trio_of(root, tmp_path) as members:
        yield members


async def test_writes_reach_all_members_and_followers_read_them(trio: list[RealMember]) -> None:
    leader = await leader_of(trio)
    for number in range(20):
        await leader.raft.propose(b"%d" % number)
    for member in trio:
        await member.raft.read_barrier()
        assert member.log.data == [b"%d" % number for number in range(20)]


async def test_every_member_sees_which_others_are_reachable(trio: list[RealMember]) -> None:
    for member in trio:
        await until(lambda member=member: list(member.raft.status().reachable.values()) == [True] * 3)  # type: ignore[misc]
    *rest, last = sorted(trio, key=lambda member: member.raft.is_leader)  # a follower dies
    dead = rest[0]
    await dead.raft.close()
    for member in (rest[1], last):
        await until(lambda member=member: not member.raft.status().reachable[dead.name])  # type: ignore[misc]


async def test_many_writers_share_commits(trio: list[RealMember]) -> None:
    leader = await leader_of(trio)
    await asyncio.gather(*(leader.raft.propose(b"%d" % number) for number in range(500)))
    await trio[2].raft.read_barrier()
    assert len(trio[2].log.data) == 500


async def test_another_leads_when_the_leader_stops_and_it_comes_back_with_the_log(
    trio: list[RealMember],
) -> None:
    old = await leader_of(trio)
    await old.raft.propose(b"before")
    await old.stop()
    rest = [member for member in trio if member is not old]
    new = await leader_of(rest)
    await new.raft.propose(b"after")
    await old.listen()
    await old.start()
    await old.raft.read_barrier()
    assert old.log.data == [b"before", b"after"]


async def test_a_member_that_was_away_long_catches_up_by_snapshot(
    root: RootAuthority, tmp_path: Path
) -> None:
    members = [RealMember(name, root, tmp_path) for name in ("m1", "m2")]
    for member in members:
        member.config = RaftConfig(snapshot_entries=20, snapshot_chunk=100)
        await member.listen()
    first, late = members
    raft = await first.start({"m1": first.address})
    await raft.wait_lead(True)
    for number in range(700):  # more than the journal keeps behind a snapshot
        await raft.propose(b"%03d" % number)
    await late.start()
    await raft.add_member(Member(node_id="m2", address=late.address))
    await late.raft.read_barrier()
    assert late.log.data == [b"%03d" % number for number in range(700)]
    for member in members:
        await member.stop()


async def test_the_snapshot_interval_can_be_changed(root: RootAuthority, tmp_path: Path) -> None:
    member = RealMember("m1", root, tmp_path)
    await member.listen()
    raft = await member.start({"m1": member.address})
    await raft.wait_lead(True)
    await asyncio.gather(*(raft.propose(b"x") for _ in range(600)))
    snapshot = member.folder / "raft" / "snapshot"
    assert not snapshot.exists()
    raft.snapshot_every(50)
    for _ in range(50):
        await raft.propose(b"y")
    await until(snapshot.exists)
    await member.stop()


async def test_a_whole_swarm_restarts_with_what_it_knew(trio: list[RealMember]) -> None:
    leader = await leader_of(trio)
    await leader.raft.propose(b"kept")
    for member in trio:
        await member.stop()
    for member in trio:
        await member.listen()
        await member.start()
    await leader_of(trio)
    for member in trio:
        await member.raft.read_barrier()
        assert member.log.data == [b"kept"]


async def test_a_lone_survivor_makes_itself_the_only_member(trio: list[RealMember]) -> None:
    leader = await leader_of(trio)
    await leader.raft.propose(b"kept")
    survivor = trio[2]
    await survivor.raft.read_barrier()
    for member in trio:
        await member.raft.close()
    raft = await survivor.start(recovery=recovery_at(survivor.address))
    await raft.wait_lead(True)
    assert survivor.log.data == [b"kept"] and set(raft.members) == {"m3"}
    await raft.propose(b"more")


async def test_members_that_a_recovery_left_behind_are_refused_and_told(
    trio: list[RealMember],
) -> None:
    leader = await leader_of(trio)
    await leader.raft.propose(b"kept")
    survivor, left = trio[2], trio[:2]
    await survivor.raft.read_barrier()
    for member in trio:
        await member.raft.close()
    raft = await survivor.start(recovery=recovery_at(survivor.address))
    await raft.wait_lead(True)
    await raft.propose(b"new")
    for member in left:  # a majority of what was before
        await member.start()
    await (await leader_of(left)).raft.propose(b"old")
    for member in left:
        await until(lambda member=member: len(member.superseded) > 0)  # type: ignore[misc]
        assert "before it was recovered on 2026-11-30 15:04 UTC" in member.superseded[0]
    await raft.propose(b"newer")
    assert survivor.log.data == [b"kept", b"new", b"newer"] and set(raft.members) == {"m3"}
    assert not survivor.fatal and raft.is_leader
    for member in left:
        await member.raft.read_barrier()
        assert member.log.data == [b"kept", b"old"]


async def test_a_recovered_swarm_stays_one_over_restarts_and_takes_in_new_members(
    root: RootAuthority, tmp_path: Path
) -> None:
    first, second = (RealMember(name, root, tmp_path) for name in ("m1", "m2"))
    for member in (first, second):
        await member.listen()
    raft = await first.start({"m1": first.address})
    await raft.wait_lead(True)
    await raft.close()
    raft = await first.start(recovery=recovery_at(first.address))
    generation = raft.generation
    await raft.close()
    raft = await first.start()
    await raft.wait_lead(True)
    assert generation is not None and raft.generation == generation
    reply = await second.client.call(first.address, AskGeneration(), GenerationReply)
    assert reply.generation == generation
    await second.start(joins=generation)
    await raft.add_member(Member(node_id="m2", address=second.address))
    await raft.propose(b"both")
    await second.raft.read_barrier()
    assert second.raft.generation == generation
    for member in (first, second):
        await member.stop()


async def test_managers_hear_each_others_clocks_also_where_they_have_nothing_to_say(
    trio: list[RealMember],
) -> None:
    for member in trio:
        await until(lambda member=member: len(member.clock._managers) == 2)  # type: ignore[misc]
        assert abs(member.clock.ahead) < 1


async def test_the_lead_is_handed_over(trio: list[RealMember]) -> None:
    leader = await leader_of(trio)
    heir = next(member for member in trio if member is not leader)
    await leader.raft.transfer_lead(heir.name)
    await heir.raft.wait_lead(True)
    await heir.raft.propose(b"by the heir")


async def test_a_directory_in_use_is_refused(trio: list[RealMember], root: RootAuthority) -> None:
    member = trio[0]
    with pytest.raises(FailedPrecondition, match="another daemon uses"):
        await open_raft(
            member.folder / "raft",
            DataKeyFile(member.folder).load_or_create(),
            "m1",
            Log(),
            server=member.server,
            client=member.client,
            ask_leader=member._ask,
            on_fatal=member.fatal.append,
            clock=member.clock,
        )


async def test_a_damaged_journal_is_refused_and_stays_as_it_is(root: RootAuthority, tmp_path: Path) -> None:
    member = RealMember("m1", root, tmp_path)
    await member.listen()
    raft = await member.start({"m1": member.address})
    await raft.wait_lead(True)
    for number in range(5):
        await raft.propose(b"%d" % number)
    await raft.close()
    (journal,) = (member.folder / "raft").glob("journal-*")
    data = bytearray(journal.read_bytes())
    data[len(data) // 2] ^= 1
    journal.write_bytes(data)
    with pytest.raises(FailedPrecondition, match="is not what was written"):
        await member.start()
    assert journal.read_bytes() == bytes(data)
    await member.client.close()
    await member.server.close()


async def test_who_is_called_by_a_recovered_manager_is_told_by_its_first_frame(
    trio: list[RealMember], root: RootAuthority, tmp_path: Path
) -> None:
    client = RpcClient(Contexts(node(root, tmp_path, "m9", NodeRole.MANAGER)).client_now)
    newer = FIRST.next("another", datetime(2026, 11, 30, 15, 4, tzinfo=UTC))
    called = trio[0]
    with pytest.raises(Superseded):
        async with client.stream(called.address, RaftStream(to="m1", generation=newer)) as stream:
            welcome = decode(await stream.receive_bytes(), RaftWelcome)
            assert (welcome.cluster, welcome.generation) == (CLUSTER, FIRST)
            await stream.receive_bytes()
    await client.close()
    assert len(called.superseded) == 1
    assert (await leader_of(trio)).fatal == []


async def test_a_stream_of_another_cluster_is_refused(
    trio: list[RealMember], root: RootAuthority, tmp_path: Path
) -> None:
    client = RpcClient(Contexts(node(root, tmp_path, "m9", NodeRole.MANAGER)).client_now)
    with pytest.raises(Conflict, match="another swarm"):
        async with client.stream(trio[0].address, RaftStream(to="m1", cluster="other")) as stream:
            while True:
                await stream.receive_bytes()
    await client.close()


async def test_a_worker_cannot_open_a_raft_stream(
    trio: list[RealMember], root: RootAuthority, tmp_path: Path
) -> None:
    client = RpcClient(Contexts(node(root, tmp_path, "w1")).client_now)
    with pytest.raises(WrongRole):
        async with client.stream(trio[0].address, RaftStream(to="m1")) as stream:
            await stream.receive_bytes()
    await client.close()


async def test_a_stream_meant_for_another_manager_is_refused(
    trio: list[RealMember], root: RootAuthority, tmp_path: Path
) -> None:
    client = RpcClient(Contexts(node(root, tmp_path, "m9", NodeRole.MANAGER)).client_now)
    with pytest.raises(Conflict, match="this is manager m1"):
        async with client.stream(trio[0].address, RaftStream(to="m2")) as stream:
            await stream.receive_bytes()
    await client.close()


@pytest.mark.parametrize(
    "frame", [b"", b"\xc1", b"cos\nsystem\n(S'id'\ntR.", b"\x91\x92\x63\x01", b"\x91" * 5000]
)
async def test_garbage_from_a_manager_ends_its_stream_and_nothing_else(
    trio: list[RealMember], root: RootAuthority, tmp_path: Path, frame: bytes
) -> None:
    leader = await leader_of(trio)
    client = RpcClient(Contexts(node(root, tmp_path, "m9", NodeRole.MANAGER)).client_now)
    with pytest.raises(SwarmError):
        async with client.stream(leader.address, RaftStream(to=leader.name)) as stream:
            await stream.receive_bytes()  # the welcome
            await stream.send_bytes(frame)
            await stream.receive_bytes()
    await client.close()
    await leader.raft.propose(b"still there")
    assert not leader.fatal


async def test_links_send_in_order_and_drop_what_exceeds_the_buffer(
    root: RootAuthority, tmp_path: Path
) -> None:
    sides = [RealMember(name, root, tmp_path) for name in ("m1", "m2")]
    transports: list[RaftTransport] = []
    heard: list[tuple[str, Any]] = []
    for side in sides:
        await side.listen()
        transports.append(
            RaftTransport(side.name, side.server, side.client, Random(1), clock=AgreedClock(RealClock()))
        )
    one, other = transports
    up: list[bool] = []
    one.on_connection(lambda peer, is_up: up.append(is_up))
    other.on_message(lambda peer, message: heard.append((peer, message)))
    assert not one.send("m2", Heartbeat(term=1, sequence=0))  # no link yet
    one.add_peer("m2", sides[1].address)
    other.add_peer("m1", sides[0].address)  # both dial: nothing flaps, nothing arrives twice
    await until(lambda: up == [True])
    for number in range(1000):
        assert one.send("m2", Heartbeat(term=1, sequence=number))
    await until(lambda: len(heard) == 1000)
    assert [message.sequence for _, message in heard] == list(range(1000))
    large = AppendEntries(
        term=1,
        sequence=1,
        commit_index=1,
        previous_index=1,
        previous_term=1,
        entries=[(bytes(100_000), 2, 1)],
    )
    sent = 0
    while one.send("m2", large):
        sent += 1
    assert sent == BUFFER // 100_000
    await until(lambda: len(heard) == 1000 + sent)
    one.drop_peer("m2")
    other.drop_peer("m1")
    await until(lambda: up == [True, False])
    for transport, side in zip(transports, sides, strict=True):
        await transport.close()
        await side.client.close()
        await side.server.close()


async def test_a_link_that_a_fault_of_ours_ended_is_dialled_again(
    root: RootAuthority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sides = [RealMember(name, root, tmp_path) for name in ("m1", "m2")]
    transports: list[RaftTransport] = []
    for side in sides:
        await side.listen()
        transports.append(
            RaftTransport(side.name, side.server, side.client, Random(1), clock=AgreedClock(RealClock()))
        )
    asked = 0

    def generation() -> Generation:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise RuntimeError("a fault of ours")
        return FIRST

    one, _ = transports
    one.set_fence(Fence(generation))
    up: list[bool] = []
    one.on_connection(lambda peer, is_up: up.append(is_up))
    one.add_peer("m2", sides[1].address)
    await until(lambda: up == [True])
    assert [record.levelname for record in caplog.records if "starting it again" in record.message] == [
        "ERROR"
    ]
    for transport in transports:
        await transport.close()
    for side in sides:
        await side.client.close()
        await side.server.close()
