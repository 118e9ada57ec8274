"""What nodes ask for their containers, with the leader's own loops behind it: placed, refused, undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import msgspec
import pytest
from msgspec.structs import replace

from manager.control.control import Control
from manager.dispatcher.attachment_server import GRACE, PATIENCE, AttachmentServer
from manager.leader import Leader
from manager.manager import own_loops
from manager.membership.bootstrap import new_swarm, seed
from manager.raft.proposer import Member
from manager.store.store import Store
from swarmcore.aio import Tasks, owned
from swarmcore.errors import FailedPrecondition, Invalid, NoLeader, NotFound, WrongRole
from swarmcore.ids import new_id
from swarmcore.model.network import IPAMConfig, IPAMOptions, NetworkSpec
from swarmcore.model.node import (
    Availability,
    Node,
    NodeDescription,
    NodeRole,
    NodeSpec,
    NodeState,
    NodeStatus,
)
from swarmcore.model.task import Task, TaskState, TaskStatus
from swarmcore.rpc.codec import decode, encode
from swarmcore.rpc.messages.attachments import (
    AttachmentReply,
    ForwardedAttachment,
    RequestAttachment,
    RequestDetachment,
)
from swarmcore.rpc.messages.control import CreateNetwork, RemoveNetwork, RemoveNode
from swarmcore.rpc.server import Peer
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual

S = TaskState
R = TypeVar("R", bound=msgspec.Struct)


class Wire:
    """Carries a follower's forwarded calls to the leader, as an mTLS peer."""

    def __init__(self) -> None:
        self.leader: AttachmentServer | None = None
        self.sender = "manager2"

    async def call(self, address: str, request: msgspec.Struct, reply: type[R], *, timeout: float = 5.0) -> R:
        assert self.leader is not None
        sent: ForwardedAttachment = decode(encode(request), ForwardedAttachment)
        answer = await self.leader.on_leader.passed_on(peer(self.sender), sent)
        received: R = decode(encode(answer), reply)
        return received

    async def close(self) -> None:
        return


class Scene:
    """A leader with its loops and a follower; workers n1 and n2, whose agents do what the leader desires."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store, self.behind = Store(self.clock), Store(self.clock)
        self.raft = SoloRaft(self.store, self.behind)
        self.follower_raft = SoloRaft(node_id="manager2", address="10.0.0.2:2377")
        self.follower_raft.leading = False
        self.follower_raft.other_leader = Member(node_id="manager1", address="10.0.0.1:2377")
        self.store.attach(self.raft)
        self.behind.attach(self.follower_raft)
        self.control = Control(self.store, self.raft, self.clock)
        self.wire = Wire()
        self.leader = AttachmentServer(
            self.control, self.store, Leader(self.store, self.raft, self.wire), self.clock
        )
        self.follower = AttachmentServer(
            Control(self.behind, self.follower_raft, self.clock),
            self.behind,
            Leader(self.behind, self.follower_raft, self.wire),
            self.clock,
        )
        self.wire.leader = self.leader
        self.agents_answer = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await seed(self.store, new_swarm(clock=self.clock, new_id=new_id))
        async with self.store.update() as tx:
            for node_id, role in (("n1", W), ("n2", W), ("manager2", M)):
                tx.nodes.put(node(node_id, role))
        subnet = IPAMOptions(configs=(IPAMConfig(subnet="10.1.0.0/24"),))
        spec = NetworkSpec(name="shop", attachable=True, ipam_options=subnet)
        await self.control.carry_out(CreateNetwork(id="net", spec=spec))
        async with AsyncExitStack() as stack:
            for factory in own_loops(self.store, self.clock, new_id):
                await stack.enter_async_context(owned(factory().run(), "loop"))
            await stack.enter_async_context(owned(self._agents(), "agents"))
            await self.clock.sleep(1)
            yield

    async def _agents(self) -> None:
        while True:
            await self.clock.sleep(0.05)
            if not self.agents_answer:
                continue
            async with self.store.update() as tx:
                for task in tx.tasks:
                    state = task.status.state
                    if task.desired_state >= S.SHUTDOWN and S.ASSIGNED <= state <= S.RUNNING:
                        tx.tasks.put(replace(task, status=TaskStatus(state=S.SHUTDOWN, timestamp=tx.now())))
                    elif state is S.ASSIGNED:
                        tx.tasks.put(replace(task, status=TaskStatus(state=S.RUNNING, timestamp=tx.now())))

    def task(self, id: str) -> Task:
        found = self.store.view().tasks.get(id)
        assert found is not None
        return found

    async def change(self, node_id: str, change: Callable[[Node], Node]) -> None:
        async with self.store.update() as tx:
            found = tx.nodes.get(node_id)
            assert found is not None
            tx.nodes.put(change(found))


W, M = NodeRole.WORKER, NodeRole.MANAGER


def node(node_id: str, role: NodeRole) -> Node:
    return Node(
        id=node_id,
        role=role,
        spec=NodeSpec(role=role),
        status=NodeStatus(state=NodeState.READY),
        description=NodeDescription(hostname=node_id),
    )


def peer(node_id: str = "n1") -> Peer:
    return Peer(
        node_id=node_id, role=M if node_id.startswith("m") else W, cluster_id="swarm", address="10.9.9.9"
    )


def wanted(**fields: Any) -> RequestAttachment:
    given = {"task_id": new_id(), "network": "shop", "container_id": "c1", "name": "db", **fields}
    return RequestAttachment(**given)


def in_scene(story: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        scene = Scene()
        async with scene.running():
            await story(scene)

    run_virtual(run())


@pytest.mark.parametrize("asked", ["leader", "follower"])
def test_a_container_comes_to_the_network_by_any_manager_and_leaves_it(asked: str) -> None:
    async def story(scene: Scene) -> None:
        server = scene.leader if asked == "leader" else scene.follower
        request = wanted(addresses=("10.1.0.77",))
        assert await server.requested(peer(), request) == AttachmentReply(task_id=request.task_id)
        found = scene.task(request.task_id)
        assert (found.node_id, found.status.state >= S.ASSIGNED) == ("n1", True)
        assert found.networks_attachments[0].addresses == ("10.1.0.77/24",)
        with pytest.raises(FailedPrecondition, match="in use"):
            await scene.control.carry_out(RemoveNetwork(id="shop"))
        await scene.clock.sleep(1)
        assert scene.task(request.task_id).status.state is S.RUNNING
        left = RequestDetachment(network="shop", container_id="c1")
        assert (await server.requested(peer(), left)).task_id == request.task_id
        await scene.clock.sleep(1)
        assert request.task_id not in scene.store.view().tasks
        await scene.control.carry_out(RemoveNetwork(id="shop"))
        assert "net" not in scene.store.view().networks

    in_scene(story)


def test_asking_again_after_a_lost_answer_attaches_once() -> None:
    async def story(scene: Scene) -> None:
        request = wanted()
        for server in (scene.leader, scene.follower):
            assert (await server.requested(peer(), request)).task_id == request.task_id
        assert [t.id for t in scene.store.view().tasks] == [request.task_id]

    in_scene(story)


def test_a_refusal_says_why_and_leaves_nothing() -> None:
    async def story(scene: Scene) -> None:
        await scene.leader.requested(peer("n2"), wanted(addresses=("10.1.0.77",)))
        began = scene.clock.monotonic()
        request = wanted(addresses=("10.1.0.77",))
        with pytest.raises(FailedPrecondition) as refused:
            await scene.leader.requested(peer(), request)
        text = "Could not attach to network shop: address 10.1.0.77 is already in use on network shop"
        assert str(refused.value) == text
        assert scene.clock.monotonic() - began <= GRACE + 0.5
        await scene.clock.sleep(1)
        assert request.task_id not in scene.store.view().tasks
        await scene.leader.requested(peer(), wanted())

    in_scene(story)


@pytest.mark.parametrize("availability", [Availability.DRAIN, Availability.PAUSE])
def test_a_node_that_takes_no_tasks_attaches_no_containers(availability: Availability) -> None:
    async def story(scene: Scene) -> None:
        await scene.change("n1", lambda n: replace(n, spec=replace(n.spec, availability=availability)))
        with pytest.raises(FailedPrecondition, match="1 node not available for new tasks"):
            await scene.leader.requested(peer(), wanted())
        await scene.clock.sleep(1)
        assert len(scene.store.view().tasks) == 0

    in_scene(story)


def test_a_drained_node_keeps_the_containers_that_are_on_networks() -> None:
    async def story(scene: Scene) -> None:
        request = wanted()
        await scene.leader.requested(peer(), request)
        await scene.change("n1", lambda n: replace(n, spec=replace(n.spec, availability=Availability.DRAIN)))
        await scene.clock.sleep(5)
        assert scene.task(request.task_id).desired_state is S.RUNNING

    in_scene(story)


def test_a_reason_that_passes_is_no_refusal() -> None:
    async def story(scene: Scene) -> None:
        await scene.change("n1", lambda n: replace(n, status=NodeStatus(state=NodeState.DISCONNECTED)))
        async with owned(scene.leader.requested(peer(), wanted()), "request") as asking:
            await scene.clock.sleep(GRACE / 2)
            assert not asking.done()
            await scene.change("n1", lambda n: replace(n, status=NodeStatus(state=NodeState.READY)))
            assert (await asking).task_id

    in_scene(story)


def test_without_the_loops_a_request_ends_in_time() -> None:
    async def story() -> None:
        scene = Scene()
        async with scene.store.update() as tx:
            tx.nodes.put(node("n1", W))
        spec = NetworkSpec(name="shop", attachable=True)
        await scene.control.carry_out(CreateNetwork(id="net", spec=spec))
        began = scene.clock.monotonic()
        with pytest.raises(FailedPrecondition, match="no manager placed it in time"):
            await scene.leader.requested(peer(), wanted())
        assert scene.clock.monotonic() - began == pytest.approx(PATIENCE)
        assert [t.desired_state for t in scene.store.view().tasks] == [S.REMOVE]

    run_virtual(story())


def test_who_detaches_while_it_is_attached_wins() -> None:
    async def story(scene: Scene) -> None:
        await scene.change("n1", lambda n: replace(n, status=NodeStatus(state=NodeState.DISCONNECTED)))
        request = wanted()
        tasks = Tasks()
        asking = tasks.start(_refusal(scene.leader.requested(peer(), request)), "request")
        await scene.clock.sleep(GRACE / 4)
        await scene.leader.requested(peer(), RequestDetachment(task_id=request.task_id))
        assert "detached meanwhile" in await asking
        await tasks.close()
        await scene.clock.sleep(1)
        assert len(scene.store.view().tasks) == 0

    in_scene(story)


async def _refusal(asking: Coroutine[Any, Any, AttachmentReply]) -> str:
    try:
        return (await asking).task_id
    except FailedPrecondition as refused:
        return str(refused)


def test_a_node_reaches_its_own_containers_only() -> None:
    async def story(scene: Scene) -> None:
        request = wanted()
        await scene.leader.requested(peer(), request)
        for foreign in (
            RequestDetachment(task_id=request.task_id),
            RequestDetachment(network="shop", container_id="c1"),
        ):
            with pytest.raises(NotFound):
                await scene.leader.requested(peer("n2"), foreign)
        await scene.clock.sleep(1)
        assert scene.task(request.task_id).desired_state is S.RUNNING

    in_scene(story)


def test_only_a_manager_passes_requests_on() -> None:
    async def story(scene: Scene) -> None:
        for sender in ("n1", "stranger"):
            scene.wire.sender = sender
            with pytest.raises(WrongRole, match="only a manager"):
                await scene.follower.requested(peer(), wanted())
        scene.wire.sender = "manager2"
        scene.follower_raft.other_leader = None
        with pytest.raises(NoLeader):
            await scene.follower.requested(peer(), wanted())
        forwarded = ForwardedAttachment(request=wanted(), node_id="n1")
        with pytest.raises(NoLeader):
            await scene.follower.on_leader.passed_on(peer("manager2"), forwarded)
        assert len(scene.store.view().tasks) == 0

    in_scene(story)


@pytest.mark.parametrize("task_id", ["", "../x", "T" * 25])
def test_an_id_that_is_none_is_refused(task_id: str) -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(Invalid):
            await scene.leader.requested(peer(), wanted(task_id=task_id))
        assert len(scene.store.view().tasks) == 0

    in_scene(story)


def test_a_removed_nodes_attachments_free_the_network() -> None:
    async def story(scene: Scene) -> None:
        await scene.leader.requested(peer(), wanted())
        scene.agents_answer = False
        await scene.change("n1", lambda n: replace(n, status=NodeStatus(state=NodeState.DOWN)))
        await scene.control.carry_out(RemoveNode(id="n1"))
        await scene.clock.sleep(1)
        assert len(scene.store.view().tasks) == 0
        await scene.control.carry_out(RemoveNetwork(id="shop"))

    in_scene(story)


def test_many_nodes_at_once_get_an_address_each() -> None:
    async def story(scene: Scene) -> None:
        requests = [wanted(container_id=f"c{n}", name=f"db{n}") for n in range(40)]
        await asyncio.gather(
            *(scene.leader.requested(peer(f"n{n % 2 + 1}"), r) for n, r in enumerate(requests))
        )
        held = [scene.task(r.task_id).networks_attachments[0].addresses[0] for r in requests]
        assert len(set(held)) == len(held)

    in_scene(story)
