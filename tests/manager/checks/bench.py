"""A leader that checks networks, and agents of the same process that take part, each with a host of the test's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import count
from typing import Any

from manager.checks.conversation import NetworkChecks
from manager.leader import Leader
from manager.store.store import Store
from swarmcore.aio import Tasks
from swarmcore.clock import Clock
from swarmcore.model.base import Driver
from swarmcore.model.endpoint import Endpoint, PortConfig, VirtualIP
from swarmcore.model.network import (
    VXLAN_IDS,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachment,
    NetworkAttachmentConfig,
    NetworkSpec,
)
from swarmcore.model.node import Node, NodeDescription, NodeRole, NodeState, NodeStatus
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from swarmcore.rpc.messages.check import CheckStep, PeerReady, ProbeReport
from swarmcore.rpc.server import Peer
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock, run_virtual
from worker.checks.checker import NetworkChecker, Probing

Answer = PeerReady | ProbeReport


class Link:
    """The dispatcher and all sessions: what it is told goes to the agent at once."""

    def __init__(self) -> None:
        self.agents: dict[str, Callable[[CheckStep], None]] = {}
        self.told: list[tuple[str, Any]] = []
        self.listeners: list[Callable[[str, bool], None]] = []

    def tell(self, node_id: str, message: Any) -> bool:
        if node_id not in self.agents:
            return False
        self.told.append((node_id, message))
        self.agents[node_id](message)
        return True

    def listen(self, listener: Callable[[str, bool], None]) -> None:
        self.listeners.append(listener)

    def session_breaks(self, node_id: str) -> None:
        del self.agents[node_id]
        for listener in self.listeners:
            listener(node_id, False)


class CheckBench:
    def __init__(self, clock: Clock) -> None:
        self.link = Link()
        self.store = Store(clock)
        self.raft = SoloRaft(self.store)
        self.store.attach(self.raft)
        self.tasks = Tasks()
        self.checkers: dict[str, NetworkChecker] = {}
        self.asked: list[tuple[str, Any]] = []
        ids = count(1)
        self.checks = NetworkChecks(
            self.store,
            self.raft,
            Leader(self.store, self.raft, self),
            self.link,
            clock,
            lambda: f"check{next(ids)}",
        )

    async def call(self, address: str, request: Any, reply: Any, *, timeout: float = 5.0) -> Any:
        """A follower's call to the leader."""
        self.asked.append((address, request))
        return "the leader's answer"

    def agent(self, node_id: str, probing: Probing) -> NetworkChecker:
        checker = self.checkers[node_id] = NetworkChecker(probing)

        async def tell(answer: Answer) -> None:
            await self.answer(node_id, answer)

        self.link.agents[node_id] = lambda message: checker.told(message, node_id, tell)
        return checker

    async def answer(self, node_id: str, answer: Answer) -> None:
        peer = Peer(node_id=node_id, role=NodeRole.WORKER, cluster_id="c1", address="10.0.0.9")
        await self.checks.answered(peer, answer)

    async def put(self, *objects: Any) -> None:
        async with self.store.update() as tx:
            for each in objects:
                tx.put(each)

    async def close(self) -> None:
        await self.tasks.close()
        for checker in self.checkers.values():
            await checker.close()


def node(id: str, vtep: str, *, state: NodeState = NodeState.READY, ingress: Sequence[str] = ()) -> Node:
    attachment = NetworkAttachment(network_id="ingress1", addresses=tuple(ingress))
    return Node(
        id=id,
        description=NodeDescription(hostname=f"host-{id}", data_path_addr=vtep),
        status=NodeStatus(state=state, addr=vtep),
        attachments=(attachment,) if ingress else (),
    )


def network(id: str, name: str, *subnets: str, ingress: bool = False, **spec: Any) -> Network:
    return Network(
        id=id,
        spec=NetworkSpec(name=name, ingress=ingress, **spec),
        driver_state=Driver(name="overlay", options={VXLAN_IDS: "4096"}),
        ipam_options=IPAMOptions(configs=tuple(IPAMConfig(subnet=each) for each in subnets)),
    )


def service(
    id: str, name: str, vips: Mapping[str, str], ports: Sequence[PortConfig] = (), **spec: Any
) -> Service:
    """`vips`: its address (CIDR) on each network."""
    wishes = tuple(NetworkAttachmentConfig(target=each) for each in vips)
    return Service(
        id=id,
        spec=ServiceSpec(name=name, task_template=TaskSpec(networks=wishes), **spec),
        endpoint=Endpoint(
            ports=tuple(ports),
            virtual_ips=tuple(VirtualIP(network_id=each, addr=addr) for each, addr in vips.items() if addr),
        ),
    )


def task(
    id: str,
    node_id: str,
    on: Mapping[str, Sequence[str]],
    *,
    service_id: str = "",
    state: TaskState = TaskState.RUNNING,
) -> Task:
    """`on`: its addresses (CIDR) on each network."""
    return Task(
        id=id,
        node_id=node_id,
        service_id=service_id,
        slot=1,
        name=f"task-{id}",
        desired_state=TaskState.RUNNING,
        status=TaskStatus(state=state),
        networks_attachments=tuple(
            NetworkAttachment(network_id=each, addresses=tuple(addresses)) for each, addresses in on.items()
        ),
    )


SHOP = network("shop1", "shop", "10.1.0.0/24")
INGRESS = network("ingress1", "ingress", "10.0.0.0/20", ingress=True)


def story(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test in virtual time with a bench of its own."""

    def run() -> None:
        async def whole() -> None:
            bench = CheckBench(LoopClock())
            try:
                await test(bench)
            finally:
                await bench.close()

        run_virtual(whole())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def shop(bench: CheckBench, nodes: int = 2) -> None:
    """A service with one task on each node."""
    ids = range(1, nodes + 1)
    await bench.put(
        SHOP,
        INGRESS,
        service("api1", "api", {"shop1": "10.1.0.2/24"}, [PortConfig(target_port=8080)]),
        *(node(f"n{n}", f"172.30.0.{n}", ingress=[f"10.0.0.{n}/20"]) for n in ids),
        *(task(f"t{n}", f"n{n}", {"shop1": [f"10.1.0.1{n}/24"]}, service_id="api1") for n in ids),
    )
