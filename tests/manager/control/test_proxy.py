"""Any manager takes requests; the leader carries them out, and they are passed on at most once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from msgspec import Struct

from manager.control.proxy import PATIENCE, ControlProxy
from manager.leader import Leader
from manager.raft.proposer import Member
from swarmcore.errors import Conflict, NoLeader, OutcomeUnknown, SwarmError, Unavailable, WrongRole
from swarmcore.model.base import Version
from swarmcore.model.node import NodeRole
from swarmcore.rpc.caller import Caller
from swarmcore.rpc.messages.control import (
    ControlReply,
    CreateService,
    ForwardedControl,
    RemoveService,
    UpdateService,
)
from swarmcore.rpc.server import Peer
from tests.manager.control.bench import Bench, spec


class Wire:
    """An RpcClient whose answers are given; the last one again and again."""

    async def close(self) -> None:
        return None

    def __init__(self, *answers: ControlReply | SwarmError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, Struct]] = []

    async def call(self, address: str, request: Struct, reply: Any, *, timeout: float = 5.0) -> Any:
        self.asked.append((address, request))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, SwarmError):
            raise answer
        return answer


async def follower(*answers: ControlReply | SwarmError) -> tuple[ControlProxy, Wire, Bench]:
    bench = await Bench().begin()
    bench.raft.leading = False
    bench.raft.other_leader = Member(node_id="leader", address="10.0.0.9:2377")
    wire = Wire(*answers)
    proxy = proxy_of(bench, wire)
    return proxy, wire, bench


def proxy_of(bench: Bench, wire: Caller) -> ControlProxy:
    """Objects that it creates are called new-1, new-2 …; the ids of its writes lie between."""
    numbers = count(1)
    return ControlProxy(
        bench.control, Leader(bench.store, bench.raft, wire), bench.clock, lambda: f"new-{next(numbers)}"
    )


def peer(node_id: str) -> Peer:
    return Peer(node_id=node_id, role=NodeRole.MANAGER, cluster_id="c", address="10.0.0.2")


async def test_the_leader_carries_out_what_it_is_asked() -> None:
    bench = await Bench().begin()
    wire = Wire(ControlReply())
    proxy = proxy_of(bench, wire)
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    assert not wire.asked


async def test_a_follower_passes_on_with_the_id_that_it_chose() -> None:
    proxy, wire, _ = await follower(ControlReply(id="new-1"))
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    ((address, request),) = wire.asked
    assert address == "10.0.0.9:2377"
    assert isinstance(request, ForwardedControl)
    assert isinstance(request.request, CreateService) and request.request.id == "new-1"


async def test_the_leaders_refusal_is_passed_back() -> None:
    proxy, wire, _ = await follower(Conflict("taken"))
    with pytest.raises(Conflict, match="taken"):
        await proxy.carry_out(CreateService(spec=spec()))
    assert len(wire.asked) == 1


async def test_a_create_whose_answer_was_lost_is_asked_again_with_the_same_id() -> None:
    proxy, wire, _ = await follower(OutcomeUnknown("lost"), ControlReply(id="new-1"))
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    first, second = (request for _, request in wire.asked)
    assert first == second


async def test_what_may_have_happened_is_never_said_to_have_not() -> None:
    """The last tries find no leader, but an earlier one was heard by somebody."""
    proxy, wire, _ = await follower(OutcomeUnknown("lost"), NoLeader("gone"))
    with pytest.raises(OutcomeUnknown, match="lost"):
        await proxy.carry_out(RemoveService(id="web"))
    assert len(wire.asked) > 2


class Cable:
    """To a leader that carries requests out; its answers get lost as told, before or after it acts."""

    def __init__(self, leader: ControlProxy, *lost: str) -> None:
        self.leader = leader
        self.lost = list(lost)
        self.asked = 0
        self.between: Callable[[], Coroutine[Any, Any, object]] | None = (
            None  # what others do after the first try
        )

    async def close(self) -> None:
        return None

    async def call(self, address: str, request: Any, reply: Any, *, timeout: float = 5.0) -> Any:
        self.asked += 1
        lost = self.lost.pop(0) if self.lost else ""
        if lost == "request":
            raise Unavailable(f"{address} does not answer")
        answer = await self.leader.on_leader.passed_on(peer("manager1"), request)
        if self.asked == 1 and self.between is not None:
            await self.between()
        if lost == "answer":
            raise OutcomeUnknown("the connection broke")
        return answer


async def two_managers(*lost: str) -> tuple[ControlProxy, Cable, Bench]:
    """The proxy of a follower and, behind the cable, its leader."""
    leading = await Bench().begin()
    await leading.node("manager1", NodeRole.MANAGER)
    leader = proxy_of(leading, Wire(ControlReply()))
    cable = Cable(leader, *lost)
    following = await Bench().begin()
    following.raft.leading = False
    following.raft.other_leader = Member(node_id="leader", address="10.0.0.9:2377")
    proxy = proxy_of(following, cable)
    return proxy, cable, leading


async def test_a_create_that_was_carried_out_and_asked_again_creates_once() -> None:
    proxy, cable, leading = await two_managers("answer", "answer")
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    assert cable.asked == 3
    assert [service.id for service in leading.store.view().services] == ["new-1"]


async def test_a_change_that_was_carried_out_is_not_carried_out_again() -> None:
    """A second scale or rollback would undo what others wrote meanwhile, or the first one."""
    proxy, cable, leading = await two_managers("answer", "answer")
    await leading.create()
    held = await leading.update(leading.service("web"), spec(image="app:2"))
    reply = await proxy.carry_out(UpdateService(id="web", version=held.version.index, rollback=True))
    assert (cable.asked, reply.id) == (3, held.id)
    assert leading.service("web").spec.task_template.container.image == "app:1"
    assert leading.service("web").spec_version == Version(index=held.spec_version.index + 1)


async def test_a_create_whose_object_was_removed_meanwhile_does_not_bring_it_back() -> None:
    proxy, cable, leading = await two_managers("answer", "answer")
    cable.between = lambda: leading.control.carry_out(RemoveService(id="web"))
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    assert len(leading.store.view().services) == 0


async def test_a_remove_that_was_carried_out_is_not_answered_with_not_found() -> None:
    proxy, cable, leading = await two_managers("answer")
    await leading.create()
    assert (await proxy.carry_out(RemoveService(id="web"))).id == "id-web"
    assert cable.asked == 2


async def test_a_change_that_nobody_was_asked_for_is_asked_again() -> None:
    proxy, cable, leading = await two_managers("request", "request")
    await leading.create()
    assert (await proxy.carry_out(RemoveService(id="web"))).id == "id-web"
    assert cable.asked == 3
    assert len(leading.store.view().services) == 0


@pytest.mark.parametrize("committed", [True, False])
async def test_the_leader_repeats_a_create_whose_outcome_it_does_not_know(committed: bool) -> None:
    bench = await Bench().begin()
    proxy = proxy_of(bench, Wire(ControlReply()))
    bench.raft.lose_next_answer(committed=committed)
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    assert len(bench.store.view().services) == 1


@pytest.mark.parametrize("committed", [True, False])
async def test_the_leader_carries_out_once_what_it_does_not_know_the_outcome_of(committed: bool) -> None:
    bench = await Bench().begin()
    proxy = proxy_of(bench, Wire(ControlReply()))
    await bench.create()
    bench.raft.lose_next_answer(committed=committed)
    assert (await proxy.carry_out(RemoveService(id="web"))).id == "id-web"
    assert len(bench.store.view().services) == 0


async def test_a_frozen_leader_is_not_waited_for_once_another_leads() -> None:
    proxy, wire, bench = await follower(ControlReply(id="done"))
    answer, frozen = wire.call, asyncio.Event()

    async def call(address: str, request: Struct, reply: Any, *, timeout: float = 5.0) -> Any:
        if not frozen.is_set():
            frozen.set()
            await asyncio.Event().wait()
        return await answer(address, request, reply)

    wire.call = call  # type: ignore[method-assign]
    asking = asyncio.get_running_loop().create_task(proxy.carry_out(RemoveService(id="web")))
    await frozen.wait()
    bench.raft.other_leader = Member(node_id="next", address="10.0.0.10:2377")
    bench.raft.lead(False)
    assert (await asking).id == "done"
    assert [address for address, _ in wire.asked] == ["10.0.0.10:2377"]


async def test_a_manager_that_wins_the_lead_carries_out_what_waited() -> None:
    proxy, wire, bench = await follower(Unavailable("gone"))
    bench.raft.other_leader = None

    async def elected(seconds: float) -> None:
        bench.raft.lead(True)

    bench.clock.sleep = elected  # type: ignore[method-assign]
    assert (await proxy.carry_out(CreateService(spec=spec()))).id == "new-1"
    assert not wire.asked
    assert bench.service("web").id == "new-1"


async def test_a_request_waits_for_a_leader_but_not_for_ever() -> None:
    proxy, wire, bench = await follower(Unavailable("gone"))
    began = bench.clock.monotonic()
    with pytest.raises(Unavailable):
        await proxy.carry_out(RemoveService(id="web"))
    assert bench.clock.monotonic() - began >= PATIENCE
    bench.raft.other_leader = None
    with pytest.raises(NoLeader):
        await proxy.carry_out(RemoveService(id="web"))


async def test_a_passed_on_request_is_not_passed_on_again() -> None:
    proxy, wire, bench = await follower(ControlReply())
    passed_on = ForwardedControl(request=RemoveService(id="web"))
    bench.raft.leading = True
    await bench.node("m2", NodeRole.MANAGER)
    bench.raft.leading = False
    with pytest.raises(NoLeader):
        await proxy.on_leader.passed_on(peer("m2"), passed_on)
    assert not wire.asked


async def test_only_managers_of_the_store_may_pass_on() -> None:
    """A certificate says what a node was when it got it."""
    proxy, _, bench = await follower(ControlReply())
    bench.raft.leading = True
    await bench.node("w1", NodeRole.WORKER)
    for node_id in ("w1", "stranger"):
        with pytest.raises(WrongRole):
            await proxy.on_leader.passed_on(peer(node_id), ForwardedControl(request=RemoveService(id="web")))


async def test_a_request_during_a_change_of_role_is_asked_again_and_is_503_if_it_stays() -> None:
    """The certificate that the connection was made with may still be of the old role: that is no 403 for the user."""
    proxy, wire, _ = await follower(WrongRole("node m2 is a worker"), ControlReply(id="new-1"))
    assert (await proxy.carry_out(RemoveService(id="web"))).id == "new-1"
    assert len(wire.asked) == 2
    proxy, _, bench = await follower(WrongRole("node m2 is a worker"))
    began = bench.clock.monotonic()
    with pytest.raises(WrongRole) as failure:
        await proxy.carry_out(RemoveService(id="web"))
    assert failure.value.status == 503
    assert bench.clock.monotonic() - began >= PATIENCE
