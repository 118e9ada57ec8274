"""A control API on a raft of one, with a swarm in it."""

from __future__ import annotations

from itertools import count
from typing import Any

from manager.control.control import Control
from manager.membership.bootstrap import new_swarm, seed
from manager.store.store import Store
from swarmcore.model.codec import convert_spec
from swarmcore.model.network import Network, NetworkSpec
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.rpc.messages.control import CreateNetwork, CreateService, UpdateService
from tests.fakes.raft import SoloRaft, StepClock


class Bench:
    """`manager1` leads; nodes are added by hand."""

    def __init__(self) -> None:
        self.clock = StepClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.control = Control(self.store, self.raft, self.clock)

    async def begin(self) -> Bench:
        # Ids as random ones look, but none that begins like those that tests choose.
        ids = (f"zz{number:023}" for number in count(1))
        await seed(self.store, new_swarm(clock=self.clock, new_id=lambda: next(ids)))
        return self

    async def create(self, name: str = "web", **fields: Any) -> Service:
        """`fields` are those of the spec, as the Engine API spells them."""
        await self.control.carry_out(CreateService(id=f"id-{name}", spec=spec(name, **fields)))
        return self.service(name)

    async def update(self, held: Service, wanted: ServiceSpec | None, *, rollback: bool = False) -> Service:
        request = UpdateService(id=held.id, version=held.version.index, spec=wanted, rollback=rollback)
        await self.control.carry_out(request)
        return self.service(held.spec.name)

    def service(self, name: str) -> Service:
        (found,) = self.store.view().services.find("name", name)
        return found

    async def network(self, name: str, **fields: Any) -> Network:
        """`fields` are those of the spec, as the vocabulary spells them."""
        wanted = convert_spec({"Name": name, **fields}, NetworkSpec)
        await self.control.carry_out(CreateNetwork(id=f"net-{name}", spec=wanted))
        found = self.store.view().networks.get(f"net-{name}")
        assert found is not None
        return found

    async def node(
        self,
        node_id: str,
        role: NodeRole = NodeRole.WORKER,
        state: NodeState = NodeState.READY,
        hostname: str = "",
    ) -> Node:
        node = Node(
            id=node_id,
            spec=NodeSpec(role=role),
            role=role,
            status=NodeStatus(state=state),
            description=NodeDescription(hostname=hostname or node_id),
        )
        async with self.store.update() as tx:
            tx.put(node)
        found = self.store.view().nodes.get(node_id)
        assert found is not None
        return found


def spec(name: str = "web", image: str = "app:1", **fields: Any) -> ServiceSpec:
    template = {"ContainerSpec": {"Image": image}, **fields.pop("TaskTemplate", {})}
    return convert_spec({"Name": name, "TaskTemplate": template, **fields}, ServiceSpec)
