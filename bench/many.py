"""Very many tasks on one leader: how long its loops hold the event loop, and what memory they take.

    python -m bench.many [--tasks 100000] [--nodes 5]

The real loops of a leader (orchestrator, allocator, scheduler, reaper, dispatcher) on a raft of one in memory, with
nodes whose agents only say that everything runs. Phases: a service is created, all of it runs, the lead changes,
the service is updated all at once, and removed. No containers, no disk, no root.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import time
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from manager.dispatcher.dispatcher import Dispatcher
from manager.manager import own_loops
from manager.raft.proposer import Member, RaftStatus
from manager.store.store import Store
from swarmcore.aio import Tasks
from swarmcore.clock import RealClock
from swarmcore.ids import new_id
from swarmcore.model.base import Version
from swarmcore.model.cluster import Cluster
from swarmcore.model.container import ContainerSpec
from swarmcore.model.node import Node, NodeDescription, NodeRole
from swarmcore.model.policy import UpdateConfig
from swarmcore.model.resources import Resources
from swarmcore.model.service import ReplicatedService, Service, ServiceMode, ServiceSpec
from swarmcore.model.task import TaskSpec, TaskState, TaskStatus
from swarmcore.process.memory import calm_collector
from swarmcore.rpc.messages.session import (
    Acknowledged,
    Assignments,
    Heartbeat,
    OpenSession,
    StatusReport,
    StatusReports,
    ToAgent,
    ToDispatcher,
)
from swarmcore.rpc.server import Peer

SERVICE = "s" * 25


class RaftOfOne:
    """Everything is committed in the next turn of the loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._index = 0
        self.node_id = "manager"
        self.is_leader = True
        self.term = 1
        self.leader = Member(node_id="manager", address="127.0.0.1:2377")
        self.members: Mapping[str, Member] = {"manager": self.leader}

    def status(self) -> RaftStatus:
        return RaftStatus(
            node_id="manager",
            leader="manager",
            term=self.term,
            commit_index=self._index,
            applied_index=self._index,
            members=self.members,
            reachable={},
        )

    async def propose(self, data: bytes) -> int:
        await asyncio.sleep(0)
        self._index += 1
        self._store.apply(data, self._index)
        return self._index

    async def read_barrier(self) -> int:
        await asyncio.sleep(0)
        return self._index

    async def add_member(self, member: Member) -> None:
        raise NotImplementedError

    async def remove_member(self, node_id: str) -> None:
        raise NotImplementedError

    async def transfer_lead(self, to: str | None = None) -> None:
        raise NotImplementedError

    async def wait_other_leader(self, node_id: str) -> None:
        await asyncio.Event().wait()

    async def wait_lead(self, leading: bool) -> None:
        while self.is_leader != leading:
            await asyncio.sleep(0.01)


class Agent:
    """One end of a session: whatever is assigned runs at once, and stops at once."""

    def __init__(self) -> None:
        self._reports: asyncio.Queue[ToDispatcher] = asyncio.Queue()
        self._number = 0

    async def send(self, message: ToAgent) -> None:
        await asyncio.sleep(0)
        match message:
            case Assignments() if message.tasks:
                self._number += 1
                now = RealClock().now()
                self._reports.put_nowait(
                    StatusReports(
                        number=self._number,
                        reports=tuple(
                            StatusReport(task_id=task.id, status=TaskStatus(timestamp=now, state=state))
                            for task in message.tasks
                            if (state := _answer(task.desired_state)) > task.status.state
                        ),
                    )
                )
            case Acknowledged() | Heartbeat():
                pass

    async def receive(self) -> ToDispatcher:
        try:
            async with asyncio.timeout(0.5):
                return await self._reports.get()
        except TimeoutError:
            return Heartbeat()


def _answer(desired: TaskState) -> TaskState:
    return TaskState.RUNNING if desired <= TaskState.RUNNING else TaskState.SHUTDOWN


class Watch:
    """How long the loop was held: the longest time between two turns of a task that always wants one.

    In processor time, which others on the machine do not disturb.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self.collecting = 0.0  # the longest garbage collection
        self._began = 0.0
        gc.callbacks.append(self._collected)

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.collecting = max(self.collecting, time.thread_time() - self._began)

    async def run(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest = max(self.longest, now - last)
            last = now

    def reset(self) -> None:
        self.longest = self.collecting = 0.0


def spec(replicas: int, image: str) -> ServiceSpec:
    return ServiceSpec(
        name="many",
        task_template=TaskSpec(container_spec=ContainerSpec(image=image, env=("A=1", "B=2"))),
        mode=ServiceMode(replicated=ReplicatedService(replicas=replicas)),
        update_config=UpdateConfig(parallelism=0),
    )


class Leader:
    def __init__(self, nodes: int) -> None:
        self.store = Store(RealClock())
        self.raft = RaftOfOne(self.store)
        self.store.attach(self.raft)
        self.node_ids = [f"node{number:02}" for number in range(nodes)]
        self.agents = Tasks()
        self.loops = Tasks()
        self.watch = Watch()

    async def begin(self) -> None:
        async with self.store.update() as tx:
            tx.put(Cluster(id="cluster"))
            for node_id in self.node_ids:
                tx.put(Node(id=node_id))

    def lead(self) -> None:
        clock = RealClock()
        self.dispatcher = Dispatcher(self.store, self.raft, clock, new_id)
        for factory in own_loops(self.store, clock, new_id):
            loop = factory()
            self.loops.start(loop.run(), type(loop).__name__)
        self.loops.start(self.dispatcher.run(), "Dispatcher")
        for node_id in self.node_ids:
            self.agents.start(self._session(node_id), node_id)

    async def _session(self, node_id: str) -> None:
        described = NodeDescription(
            hostname=node_id, resources=Resources(nano_cpus=10**9, memory_bytes=1 << 34)
        )
        peer = Peer(node_id=node_id, role=NodeRole.WORKER, cluster_id="cluster", address="127.0.0.1")
        while True:
            await self.dispatcher.serve(peer, OpenSession(description=described), Agent())  # type: ignore[arg-type]
            await asyncio.sleep(0.05)

    async def new_lead(self) -> None:
        await self.loops.close()
        await self.agents.close()
        self.loops, self.agents = Tasks(), Tasks()
        self.raft.term += 1
        self.lead()

    async def write(self, wanted: ServiceSpec | None) -> None:
        async with self.store.update() as tx:
            old = tx.services.get(SERVICE)
            if wanted is None:
                tx.services.delete(SERVICE)
            elif old is None:
                tx.put(Service(id=SERVICE, spec=wanted, spec_version=Version(index=1)))
            else:
                version = Version(index=old.spec_version.index + 1)
                tx.put(replace(old, spec=wanted, previous_spec=old.spec, spec_version=version))

    def running(self, image: str) -> int:
        return sum(
            1
            for task in self.store.view().tasks
            if task.status.state is TaskState.RUNNING and task.spec.container.image == image
        )

    async def phase(self, name: str, done: Callable[[], bool]) -> None:
        """Until `done`; asked rarely, for it looks at everything itself."""
        began = time.perf_counter()
        while True:
            await asyncio.sleep(1.0)
            longest = self.watch.longest
            if done():
                break
            self.watch.longest = longest
        took = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(
            f"| {name} | {took:.0f} | {longest * 1e3:.0f} | {self.watch.collecting * 1e3:.0f} | {peak} |",
            flush=True,
        )
        self.watch.reset()


async def measure(tasks: int, nodes: int) -> None:
    calm_collector()  # as the daemon does
    leader = Leader(nodes)
    watching = Tasks()
    watching.start(leader.watch.run(), "watch")
    print("| phase | seconds | loop held at most, ms | of it one garbage collection, ms | peak memory, MiB |")
    print("|---|---|---|---|---|")
    try:
        await leader.begin()
        leader.lead()
        await leader.write(spec(tasks, "app:1"))
        await leader.phase(
            f"{tasks} replicas created, until all run", lambda: leader.running("app:1") == tasks
        )
        await leader.new_lead()
        await leader.phase("another term, all loops begin anew", lambda: True)
        await leader.phase("quiet", lambda: True)
        await leader.write(spec(tasks, "app:2"))
        await leader.phase("updated all at once", lambda: leader.running("app:2") == tasks)
        await leader.write(None)
        await leader.phase("removed", lambda: not len(leader.store.view().tasks))
    finally:
        await leader.loops.close()
        await leader.agents.close()
        await watching.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(measure(options.tasks, options.nodes))
