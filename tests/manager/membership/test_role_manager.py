from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from msgspec.structs import replace

from manager.membership.role_manager import RETRY, Action, RoleManager, plan
from manager.raft.proposer import Member, RaftStatus
from manager.store.store import Store
from swarmcore.aio import owned
from swarmcore.errors import Unavailable
from swarmcore.model.node import Node, NodeRole, NodeSpec
from tests.fakes.raft import SoloRaft, StepClock
from tests.pki.clock import ManualClock, settle

W, M = NodeRole.WORKER, NodeRole.MANAGER


def node(node_id: str, wanted: NodeRole, role: NodeRole) -> Node:
    return Node(id=node_id, spec=NodeSpec(role=wanted), role=role)


class Raft(SoloRaft):
    """A raft of named members led by m1; some are out of reach, and removals can fail."""

    def __init__(self, store: Store, members: tuple[str, ...]) -> None:
        super().__init__(store, node_id="m1")
        self.member_table = {name: Member(node_id=name, address=f"{name}:2377") for name in members}
        self.away: set[str] = set()
        self.failing = 0
        self.removed: list[str] = []
        self.roles_at_removal: list[NodeRole] = []
        self.store = store

    def status(self) -> RaftStatus:
        reachable = {name: name not in self.away for name in self.member_table}
        return replace(super().status(), reachable=reachable)

    async def remove_member(self, node_id: str) -> None:
        if self.failing:
            self.failing -= 1
            raise Unavailable("no quorum answered")
        held = self.store.view().nodes.get(node_id)
        assert held is not None
        self.roles_at_removal.append(held.role)
        self.removed.append(node_id)
        await super().remove_member(node_id)


class Scene:
    def __init__(self, *members: str) -> None:
        self.clock = ManualClock()
        self.store = Store(StepClock())
        self.raft = Raft(self.store, members)
        self.store.attach(self.raft)
        self.manager = RoleManager(self.store, self.raft, self.clock)

    async def put(self, *nodes: Node) -> None:
        async with self.store.update() as tx:
            for one in nodes:
                tx.nodes.put(one)

    async def want(self, node_id: str, role: NodeRole) -> None:
        async with self.store.update() as tx:
            held = tx.nodes.get(node_id)
            assert held is not None
            tx.nodes.put(replace(held, spec=replace(held.spec, role=role)))

    def role(self, node_id: str) -> NodeRole:
        held = self.store.view().nodes.get(node_id)
        assert held is not None
        return held.role


@pytest.fixture
async def trio() -> Scene:
    scene = Scene("m1", "m2", "m3")
    await scene.put(node("m1", M, M), node("m2", M, M), node("m3", M, M), node("w1", W, W))
    return scene


async def test_nothing_to_do_proposes_nothing(trio: Scene) -> None:
    before = len(trio.raft.log)
    assert await trio.manager.reconcile()
    assert len(trio.raft.log) == before


async def test_promotion_sets_the_role(trio: Scene) -> None:
    await trio.want("w1", M)
    assert await trio.manager.reconcile()
    assert trio.role("w1") is M
    assert "w1" not in trio.raft.members  # the node itself joins raft, with its new certificate


async def test_demotion_leaves_raft_before_the_role_changes(trio: Scene) -> None:
    await trio.want("m2", W)
    assert await trio.manager.reconcile()
    assert trio.raft.removed == ["m2"]
    assert trio.raft.roles_at_removal == [M]
    assert trio.role("m2") is W


async def test_a_demotion_that_would_lose_the_quorum_waits(
    trio: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    trio.raft.away = {"m3"}
    await trio.want("m2", W)
    assert not await trio.manager.reconcile()
    assert not await trio.manager.reconcile()
    assert trio.raft.removed == []
    assert trio.role("m2") is M
    assert [record.message for record in caplog.records].count(
        "demotion waits"
    ) == 1  # said once, not every 5 s
    trio.raft.away = set()
    assert await trio.manager.reconcile()
    assert trio.role("m2") is W


async def test_a_manager_that_is_away_can_be_demoted_while_the_others_are_enough(trio: Scene) -> None:
    trio.raft.away = {"m2"}
    await trio.want("m2", W)
    assert await trio.manager.reconcile()
    assert trio.role("m2") is W


async def test_the_last_manager_is_not_demoted() -> None:
    scene = Scene("m1")
    await scene.put(node("m1", W, M))
    assert not await scene.manager.reconcile()
    assert (scene.role("m1"), tuple(scene.raft.members)) == (M, ("m1",))


async def test_a_leader_hands_over_before_its_own_demotion_and_its_successor_does_it(trio: Scene) -> None:
    await trio.want("m1", W)
    assert not await trio.manager.reconcile()
    assert not trio.raft.is_leader
    assert trio.role("m1") is M
    assert "m1" in trio.raft.members
    trio.raft.me, trio.raft.leading = trio.raft.member_table["m2"], True
    assert await RoleManager(trio.store, trio.raft, trio.clock).reconcile()
    assert trio.raft.removed == ["m1"]
    assert trio.role("m1") is W


async def test_two_demotions_go_one_after_the_other_while_a_quorum_stays(trio: Scene) -> None:
    await trio.want("m2", W)
    await trio.want("m3", W)
    assert await trio.manager.reconcile()
    assert trio.raft.removed == ["m2", "m3"]
    assert tuple(trio.raft.members) == ("m1",)


async def test_a_worker_that_slipped_into_raft_is_taken_out(trio: Scene) -> None:
    await trio.raft.add_member(Member(node_id="w1", address="w1:2377"))
    assert await trio.manager.reconcile()
    assert trio.raft.removed == ["w1"]


async def test_a_failed_removal_is_tried_again_after_5_seconds(trio: Scene) -> None:
    trio.raft.failing = 1
    await trio.want("m2", W)
    async with owned(trio.manager.run(), "role manager"):
        await until(lambda: trio.raft.failing == 0)
        await settle()
        assert trio.role("m2") is M
        assert await trio.clock.advance_to_next() == RETRY
        await until(lambda: trio.role("m2") is W)


async def test_the_loop_wakes_for_a_commit_and_not_for_its_own_sake(trio: Scene) -> None:
    async with owned(trio.manager.run(), "role manager"):
        await settle()
        await trio.want("w1", M)
        await until(lambda: trio.role("w1") is M)
        await trio.want("w1", W)
        await until(lambda: trio.role("w1") is W)
        entries = len(trio.raft.log)
        await settle()
        assert len(trio.raft.log) == entries


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("reachable", "action"),
    [
        ({"m1": True, "m2": True, "m3": True}, Action.REMOVE_MEMBER),
        ({"m1": True, "m2": False, "m3": True}, Action.REMOVE_MEMBER),
        ({"m1": True, "m2": True, "m3": False}, Action.HOLD),
        ({"m2": True, "m3": True}, Action.REMOVE_MEMBER),  # a leader reaches itself
    ],
)
async def test_the_plan_counts_who_is_left(
    trio: Scene, reachable: Mapping[str, bool], action: Action
) -> None:
    await trio.want("m2", W)
    (step,) = plan(trio.store.view(), replace(trio.raft.status(), reachable=reachable))
    assert (step.action, step.node_id) == (action, "m2")
