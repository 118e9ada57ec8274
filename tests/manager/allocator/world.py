"""A store with an allocator that runs, in virtual time, and short names for what tests put there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any, TypeVar

from msgspec.structs import replace

from manager.allocator.allocator import Allocator
from manager.store.store import Store
from manager.store.tables import View
from swarmcore.aio import owned
from swarmcore.errors import OutcomeUnknown
from swarmcore.model.base import Driver, Object
from swarmcore.model.cluster import Cluster
from swarmcore.model.endpoint import EndpointMode, EndpointSpec, PortConfig, Protocol, PublishMode
from swarmcore.model.network import (
    VXLAN_IDS,
    IPAMConfig,
    IPAMOptions,
    Network,
    NetworkAttachmentConfig,
    NetworkSpec,
)
from swarmcore.model.node import Node, NodeDescription
from swarmcore.model.service import Service, ServiceSpec
from swarmcore.model.task import Task, TaskSpec, TaskState, TaskStatus
from tests.fakes.raft import SoloRaft
from tests.fakes.virtual_time import LoopClock

S = TaskState
O = TypeVar("O")  # noqa: E741


def there(found: O | None) -> O:
    assert found is not None
    return found


class LateRaft(SoloRaft):
    """Some entries of unknown fate surface only when somebody asks for all that was committed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.delay_next = False
        self._late: list[bytes] = []

    async def propose(self, data: bytes) -> int:
        if self.delay_next:
            self.delay_next = False
            self._late.append(data)
            raise OutcomeUnknown("the answer was lost")
        return await super().propose(data)

    async def read_barrier(self) -> int:
        while self._late:
            self.inject(self._late.pop(0))
        return await super().read_barrier()


class World:
    """`put` and `remove` wait until the allocator has nothing left to do."""

    def __init__(self) -> None:
        self.clock = LoopClock()
        self.store = Store(self.clock)
        self.raft = LateRaft(self.store)
        self.store.attach(self.raft)
        numbers = count(1)
        self.new_id = lambda: f"made{next(numbers)}"

    @property
    def view(self) -> View:
        return self.store.view()

    @asynccontextmanager
    async def allocating(self) -> AsyncIterator[None]:
        async with owned(
            Allocator(self.store, self.clock, Random(7), self.new_id).run(), "allocator"
        ) as running:
            await self.settle()
            yield
            await self.settle()
            assert not running.done()

    async def settle(self) -> None:
        await self.clock.sleep(1)

    async def put(self, *objects: Object) -> None:
        """New ones as they are; of those in the store, what the user or another loop changed."""
        async with self.store.update() as tx:
            for item in objects:
                tx.put(item)
        await self.settle()

    async def remove(self, *ids: str) -> None:
        async with self.store.update() as tx:
            for id in ids:
                tx.delete(id)
        await self.settle()

    # -- what is there now ---------------------------------------------------------------------------
    def network(self, id: str) -> Network:
        return there(self.view.networks.get(id))

    def service(self, id: str) -> Service:
        return there(self.view.services.get(id))

    def task(self, id: str) -> Task:
        return there(self.view.tasks.get(id))

    def node(self, id: str) -> Node:
        return there(self.view.nodes.get(id))

    def ingress(self) -> Network:
        (found,) = [network for network in self.view.networks if network.spec.ingress]
        return found

    def subnets(self, id: str) -> list[str]:
        options = self.network(id).ipam_options
        return [config.subnet for config in options.configs] if options is not None else []

    def vips(self, id: str) -> list[tuple[str, str]]:
        endpoint = self.service(id).endpoint
        return [(vip.network_id, vip.addr) for vip in endpoint.virtual_ips] if endpoint is not None else []

    def ports(self, id: str) -> list[int]:
        endpoint = self.service(id).endpoint
        return [port.published_port for port in endpoint.ports] if endpoint is not None else []

    def addresses(self, id: str) -> dict[str, tuple[str, ...]]:
        return {a.network_id: a.addresses for a in self.task(id).networks_attachments}


def cluster(*pools: str, size: int = 24) -> Cluster:
    return Cluster(id="swarm", default_addr_pool=pools or ("10.0.0.0/8",), subnet_size=size)


def network(
    id: str,
    *subnets: str | IPAMConfig,
    ipv6: bool = False,
    vnis: str = "",
    driver: str = "overlay",
    ingress: bool = False,
) -> Network:
    configs = tuple(IPAMConfig(subnet=s) if isinstance(s, str) else s for s in subnets)
    options = {VXLAN_IDS: vnis} if vnis else {}
    return Network(
        id=id,
        spec=NetworkSpec(
            name=f"net-{id}",
            driver_configuration=Driver(name=driver, options=options),
            ipam_options=IPAMOptions(configs=configs) if configs else None,
            ipv6_enabled=ipv6,
            ingress=ingress,
        ),
    )


def joins(*networks: str) -> tuple[NetworkAttachmentConfig, ...]:
    return tuple(NetworkAttachmentConfig(target=id, aliases=(f"alias-{id}",)) for id in networks)


def port(
    target: int,
    published: int = 0,
    mode: PublishMode = PublishMode.INGRESS,
    protocol: Protocol = Protocol.TCP,
) -> PortConfig:
    return PortConfig(target_port=target, published_port=published, publish_mode=mode, protocol=protocol)


def service_spec(
    id: str,
    networks: Iterable[str] = (),
    ports: Iterable[PortConfig] = (),
    mode: EndpointMode = EndpointMode.VIP,
) -> ServiceSpec:
    return ServiceSpec(
        name=f"service-{id}",
        task_template=TaskSpec(networks=joins(*networks)),
        endpoint_spec=EndpointSpec(mode=mode, ports=tuple(ports)),
    )


def service(id: str, networks: Iterable[str] = (), ports: Iterable[PortConfig] = (), **more: Any) -> Service:
    return Service(id=id, spec=service_spec(id, networks, ports, **more))


def task(id: str, of: Service | None = None, networks: Iterable[str] = ()) -> Task:
    """A NEW task of a service, or of none."""
    spec = of.spec.task_template if of is not None else TaskSpec(networks=joins(*networks))
    return Task(
        id=id,
        service_id=of.id if of is not None else "",
        spec=spec,
        slot=1,
        endpoint=of.endpoint if of is not None else None,
        desired_state=S.RUNNING,
        status=TaskStatus(message="created"),
    )


def in_state(task: Task, state: TaskState, **more: Any) -> Task:
    return replace(task, status=replace(task.status, state=state), **more)


def node(id: str, *host_subnets: str) -> Node:
    return Node(id=id, description=NodeDescription(hostname=f"host-{id}", host_subnets=host_subnets))
