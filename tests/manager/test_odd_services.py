"""Whatever service is let in, no loop of the leader fails over it: created, failed, updated, removed."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from manager.control.control import Control
from manager.manager import Manager
from manager.membership.bootstrap import new_swarm, seed
from manager.store.store import Store
from swarmcore.aio import owned
from swarmcore.errors import SwarmError
from swarmcore.ids import new_id
from swarmcore.model.codec import decode_spec
from swarmcore.model.node import Node, NodeDescription, NodeState, NodeStatus
from swarmcore.model.resources import Resources
from swarmcore.model.service import ServiceSpec
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.control import CreateService, RemoveService, UpdateService
from tests.fakes.hostile import documents
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual

BASE: dict[str, Any] = {
    "Name": "web",
    "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}},
    "Mode": {"Replicated": {"Replicas": 2}},
}
BATCH = 100


def odd_services() -> list[ServiceSpec]:
    """Those that can be read, without the many that differ in a text alone that no loop looks at."""
    found: list[ServiceSpec] = []
    for number, (what, body) in enumerate(documents(ServiceSpec, BASE)):
        looked_at = "ContainerSpec" not in what or "StopGrace" in what or "Mounts" in what
        if (looked_at and "Labels" not in what) or number % 20 == 0:
            try:
                found.append(replace(decode_spec(body, ServiceSpec, []), name=f"web{number}"))
            except SwarmError:
                continue
    return found


class Swarm:
    """A manager with its loops and two nodes, on which no agent answers."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.control = Control(self.store, self.raft, self.clock)

    async def begin(self) -> None:
        await seed(self.store, new_swarm(clock=self.clock, new_id=new_id))
        async with self.store.update() as tx:
            for name in ("w1", "w2"):
                resources = Resources(nano_cpus=10**10, memory_bytes=1 << 40)
                description = NodeDescription(hostname=name, resources=resources)
                tx.put(Node(id=name, status=NodeStatus(state=NodeState.READY), description=description))

    async def settle(self) -> None:
        await asyncio.sleep(30)  # of virtual time

    async def all_tasks(self, state: TaskState) -> None:
        """Every node says this of every task that it has."""
        for task in list(self.store.view().tasks):
            async with self.store.update() as tx:
                held = tx.tasks.get(task.id)
                if held is not None and held.node_id and held.status.state < state:
                    tx.tasks.put(
                        replace(held, status=replace(held.status, state=state, timestamp=self.clock.now()))
                    )

    async def live(self, specs: list[ServiceSpec]) -> int:
        """One life of these services; how many were let in."""
        there = []
        for spec in specs:
            try:
                there.append(
                    (await self.control.carry_out(CreateService(id=f"id-{spec.name}", spec=spec))).id
                )
            except SwarmError:
                continue
        await self.settle()
        assert len(self.store.view().tasks) >= len(there)
        for state in (TaskState.RUNNING, TaskState.FAILED, TaskState.RUNNING):
            await self.all_tasks(state)
            await self.settle()
        for service_id in there:
            held = self.store.view().services.get(service_id)
            assert held is not None
            container = replace(held.spec.task_template.container, env=("NEW=1",))
            changed = replace(
                held.spec, task_template=replace(held.spec.task_template, container_spec=container)
            )
            await self.control.carry_out(
                UpdateService(id=service_id, version=held.version.index, spec=changed)
            )
        for state in (TaskState.RUNNING, TaskState.FAILED, TaskState.RUNNING, TaskState.SHUTDOWN):
            await self.settle()
            await self.all_tasks(state)
        for service_id in there:
            await self.control.carry_out(RemoveService(id=service_id))
        await self.settle()
        return len(there)


def test_no_service_that_is_let_in_ends_a_loop_of_the_leader(caplog: pytest.LogCaptureFixture) -> None:
    async def tale() -> None:
        swarm, taken = Swarm(), 0
        await swarm.begin()
        specs = odd_services()
        manager = Manager(swarm.store, swarm.raft, swarm.clock, (), random=Random(1))
        async with owned(manager.run(), "manager") as running:
            for start in range(0, len(specs), BATCH):
                taken += await swarm.live(specs[start : start + BATCH])
                assert not running.done()
        assert taken > 300

    run_virtual(tale())
    faults = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert faults == []
