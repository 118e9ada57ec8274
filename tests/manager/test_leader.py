"""Who may pass requests on to the leader: managers of the store at this moment, whatever certificates say."""

from __future__ import annotations

from typing import Any

import pytest

from manager.leader import Leader
from manager.membership.members import Members
from manager.raft.proposer import Member
from manager.store.store import Store
from swarmcore.errors import NoLeader, WrongRole
from swarmcore.model.node import Node, NodeRole
from swarmcore.rpc.messages.members import ForwardedMembership, JoinRaft, LeaveRaft, ReadIndex
from swarmcore.rpc.server import Peer
from tests.fakes.raft import SoloRaft, StepClock


class Silent:
    async def call(self, address: str, request: Any, reply: Any, *, timeout: float = 5.0) -> Any:
        raise AssertionError("nobody is to be asked")

    async def close(self) -> None:
        return


class Scene:
    """The leader m1; m2 is a manager, m3 was demoted but its certificate still says manager, w1 is a worker."""

    def __init__(self) -> None:
        self.store = Store(StepClock())
        self.raft = SoloRaft(self.store, node_id="m1")
        self.store.attach(self.raft)
        self.leader = Leader(self.store, self.raft, Silent())
        self.members = Members(self.store, self.raft, self.leader)  # type: ignore[arg-type]

    async def begin(self) -> Scene:
        roles = {"m1": NodeRole.MANAGER, "m2": NodeRole.MANAGER, "m3": NodeRole.WORKER, "w1": NodeRole.WORKER}
        async with self.store.update() as tx:
            for node_id, role in roles.items():
                tx.put(Node(id=node_id, role=role))
        await self.raft.add_member(Member(node_id="m2", address="10.0.0.2:2377"))
        return self

    def role(self, node_id: str) -> NodeRole:
        node = self.store.view().nodes.get(node_id)
        assert node is not None
        return node.role


def peer(node_id: str, role: NodeRole = NodeRole.MANAGER) -> Peer:
    """As its certificate says."""
    return Peer(node_id=node_id, role=role, cluster_id="c", address="10.0.0.9")


@pytest.fixture
async def scene() -> Scene:
    return await Scene().begin()


async def test_a_manager_of_the_store_may_pass_on(scene: Scene) -> None:
    scene.leader.verify(peer("m2"))


@pytest.mark.parametrize("node_id", ["m3", "w1", "stranger"])
async def test_a_managers_certificate_alone_does_not_count(scene: Scene, node_id: str) -> None:
    with pytest.raises(WrongRole, match="only a manager"):
        scene.leader.verify(peer(node_id))


async def test_a_follower_does_not_judge(scene: Scene) -> None:
    """Its store may not have heard of a promotion yet."""
    scene.raft.lead(False)
    with pytest.raises(NoLeader):
        scene.leader.verify(peer("m2"))


async def test_a_demoted_manager_cannot_evict_another(scene: Scene) -> None:
    for address in ("", "10.0.0.66:2377"):
        with pytest.raises(WrongRole):
            await scene.members.on_leader.passed_on(
                peer("m3"), ForwardedMembership(node_id="m2", address=address)
            )
    assert scene.role("m2") is NodeRole.MANAGER
    assert scene.raft.members["m2"].address == "10.0.0.2:2377"


async def test_a_demoted_manager_cannot_join_raft_again(scene: Scene) -> None:
    with pytest.raises(WrongRole, match="not a manager"):
        await scene.members.join(peer("m3"), JoinRaft(address="10.0.0.3:2377"))
    assert "m3" not in scene.raft.members


async def test_who_leaves_raft_leaves_alone(scene: Scene) -> None:
    await scene.members.leave(peer("m2"), LeaveRaft())
    assert scene.role("m2") is NodeRole.WORKER
    assert set(scene.raft.members) == {"m1"}


async def test_only_members_ask_for_a_barrier(scene: Scene) -> None:
    for node_id in ("m3", "w1"):
        with pytest.raises(WrongRole):
            await scene.members.read_index(peer(node_id), ReadIndex())
