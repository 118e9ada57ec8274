"""An update of a node's role is answered when the next request sees the role, or when nobody can say when it will."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from manager.raft.proposer import Member, RaftStatus
from manager.store.tables import View
from pyswarmd.node.membership import Status
from pyswarmd.node.role_change import WITHIN, role_taken
from swarmcore.errors import NoLeader, NotManager
from swarmcore.model.node import Node, NodeRole, NodeSpec, NodeState, NodeStatus
from tests.fakes.raft import StepClock, solo_store

MANAGER, WORKER = NodeRole.MANAGER, NodeRole.WORKER


class Seen:
    """What this manager sees of it."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self.raft = self

    def status(self) -> RaftStatus:
        return RaftStatus(
            node_id="m1",
            leader="m1",
            term=1,
            commit_index=1,
            applied_index=1,
            members=self._here.members,
            reachable=self._here.reachable,
        )

    async def read(self) -> View:
        return await self._here.read()


class Here(StepClock):
    """This manager's view of one other node, which changes while it is waited for."""

    def __init__(self, role: NodeRole, spec: NodeRole, state: NodeState = NodeState.READY) -> None:
        super().__init__()
        self.store, _ = solo_store()
        self.node = Node(id="w1", role=role, spec=NodeSpec(role=spec), status=NodeStatus(state=state))
        self.members: dict[str, Member] = {}
        self.reachable: dict[str, bool] = {}
        self.own = Status(node_id="m1", state="active", control_available=True)
        self.trouble: Exception | None = None
        self.later: list[Callable[[], None]] = []
        self.slept = 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.later:
            self.later.pop(0)()
        await super().sleep(seconds)

    def status(self) -> Status:
        return self.own

    async def read(self) -> View:
        if self.trouble is not None:
            raise self.trouble
        async with self.store.update() as tx:
            held = tx.nodes.get("w1")
            tx.put(replace(self.node, version=held.version) if held is not None else self.node)
        return self.store.view()

    def manager(self) -> Seen:
        return Seen(self)

    def takes_role(self, role: NodeRole) -> None:
        self.node = replace(self.node, role=role)

    def joins_raft(self) -> None:
        self.members = {"w1": Member(node_id="w1", address="10.0.0.2:2377")}

    def is_reached(self) -> None:
        self.reachable = {"w1": True}

    def leaves_raft(self) -> None:
        self.members, self.reachable = {}, {}


async def test_a_promotion_is_waited_for_until_the_managers_reach_the_new_one() -> None:
    here = Here(WORKER, MANAGER)
    here.later = [lambda: here.takes_role(MANAGER), here.joins_raft, here.is_reached]
    await role_taken(here, here, "w1", MANAGER)
    assert not here.later and here.slept < 1


async def test_a_demotion_is_waited_for_until_the_role_is_gone() -> None:
    here = Here(MANAGER, WORKER)
    here.joins_raft()
    here.is_reached()
    here.later = [here.leaves_raft, lambda: here.takes_role(WORKER)]
    await role_taken(here, here, "w1", WORKER)
    assert not here.later and here.slept < 1


async def test_an_update_that_changes_no_role_is_answered_at_once() -> None:
    here = Here(WORKER, WORKER)
    await role_taken(here, here, "w1", WORKER)
    assert here.slept == 0


@pytest.mark.parametrize(
    "here",
    [Here(WORKER, MANAGER, NodeState.DOWN), Here(WORKER, WORKER)],
    ids=["the node is away", "somebody changed it back"],
)
async def test_what_is_not_to_be_expected_is_not_waited_for(here: Here) -> None:
    await role_taken(here, here, "w1", MANAGER)
    assert here.slept == 0


async def test_nothing_is_waited_for_without_end() -> None:
    here = Here(WORKER, MANAGER)
    await role_taken(here, here, "w1", MANAGER)
    assert WITHIN <= here.slept <= WITHIN + 1


async def test_an_election_on_the_way_is_waited_out() -> None:
    here = Here(WORKER, WORKER)
    here.trouble = NoLeader("the swarm does not have a leader right now")

    def elected() -> None:
        here.trouble = None

    here.later = [elected]
    await role_taken(here, here, "w1", WORKER)
    assert 0 < here.slept < 1


async def test_a_manager_that_demotes_itself_answers_when_it_manages_no_more() -> None:
    here = Here(MANAGER, WORKER)
    here.trouble = NotManager("This node is not a swarm manager.")

    def over() -> None:
        here.own = replace(here.own, control_available=False)

    here.later = [over]
    await role_taken(here, here, "m1", WORKER)
    assert not here.later and here.slept < 1
    await role_taken(here, here, "w1", MANAGER)  # of the others it sees nothing any more
