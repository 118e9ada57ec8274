"""Any mix of users, agents, lost answers and changes of leader: nothing is given twice, nothing leaks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_interface, ip_network
from itertools import combinations, count
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from manager.allocator import ingress
from manager.allocator.addresses import held, holds, usage
from manager.allocator.allocator import Allocator
from manager.allocator.ports import published
from manager.allocator.services import is_settled
from manager.rules.network_plan import trouble, vnis_of
from manager.store.tables import BY_TYPE
from manager.store.tx import Tx
from swarmcore.aio import Tasks
from swarmcore.model.base import Object
from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.service import Service
from tests.fakes.virtual_time import VirtualLoop
from tests.manager.allocator.world import (
    O,
    S,
    World,
    cluster,
    network,
    node,
    port,
    service,
    service_spec,
    task,
    there,
)

SUBNETS = st.sampled_from([(), ("10.0.1.0/28",), ("10.0.1.0/29", "10.0.1.64/27"), ("10.0.2.0/28",)])
PORTS = st.lists(
    st.builds(port, st.integers(1, 3), st.sampled_from([0, 0, 80, 30000])),
    max_size=3,
    unique_by=lambda found: found.published_port or -found.target_port,
)
MODES = st.sampled_from(EndpointMode)
STATES = st.sampled_from([S.RUNNING, S.COMPLETE, S.FAILED, S.SHUTDOWN, S.ORPHANED])


class AllocatorUnderFire(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.leader: Tasks | None = None
        self.numbers = count(1)

    def teardown(self) -> None:
        self.runner.run(self._clear())
        self.runner.close()

    # -- rules ---------------------------------------------------------------------------------------
    @initialize(subnets=st.lists(SUBNETS, min_size=2, max_size=2), ipv6=st.booleans())
    def begin(self, subnets: list[tuple[str, ...]], ipv6: bool) -> None:
        self._write(cluster("10.0.0.0/23", size=27))
        self._write(*(network(f"net{n}", *each, ipv6=ipv6) for n, each in enumerate(subnets)), node("node0"))
        self.change_of_leader()

    @rule(subnets=SUBNETS, ipv6=st.booleans(), vnis=st.sampled_from(["", "", "4097,5000"]))
    def create_network(self, subnets: tuple[str, ...], ipv6: bool, vnis: str) -> None:
        if len(self.world.view.networks) < 6:
            self._write(network(self._name("net"), *subnets, ipv6=ipv6, vnis=vnis))

    @rule(data=st.data())
    def remove_network(self, data: st.DataObject) -> None:
        """As control allows it."""
        view = self.world.view
        used = {wish.target for s in view.services for wish in s.spec.task_template.networks}
        used |= {wish.target for t in view.tasks for wish in t.spec.networks}
        used |= {on for t in view.tasks for on, _ in held(t)}
        if free := [n.id for n in view.networks if n.id not in used and not n.spec.ingress]:
            self._delete(data.draw(st.sampled_from(free)))

    @rule(data=st.data(), ports=PORTS, mode=MODES, tasks=st.integers(0, 6))
    def create_service(self, data: st.DataObject, ports: list[Any], mode: EndpointMode, tasks: int) -> None:
        id = self._name("service")
        spec = service_spec(id, self._joins(data), () if mode is EndpointMode.DNSRR else ports, mode)
        made = replace(service(id), spec=spec)
        self._write(made)
        self._write(*(task(self._name("task"), made) for _ in range(tasks)))

    @rule(data=st.data(), ports=PORTS, mode=MODES)
    def update_service(self, data: st.DataObject, ports: list[Any], mode: EndpointMode) -> None:
        if (found := self._some(data, self.world.view.services)) is not None:
            ports = [] if mode is EndpointMode.DNSRR else ports
            self._edit(found, spec=service_spec(found.id, self._joins(data), ports, mode))

    @rule(data=st.data())
    def remove_service(self, data: st.DataObject) -> None:
        if (found := self._some(data, self.world.view.services)) is not None:
            self._delete(found.id)
            for one in self.world.view.tasks.find("service_id", found.id):
                self._edit(one, desired_state=S.REMOVE)

    @rule(data=st.data(), number=st.integers(1, 8))
    def scale_up(self, data: st.DataObject, number: int) -> None:
        if (found := self._some(data, self.world.view.services)) is not None:
            self._write(*(task(self._name("task"), found) for _ in range(number)))

    @rule(data=st.data())
    def attach_container(self, data: st.DataObject) -> None:
        self._write(task(self._name("task"), networks=self._joins(data)))

    @rule(data=st.data(), state=STATES, number=st.integers(1, 4))
    def report(self, data: st.DataObject, state: S, number: int) -> None:
        for _ in range(number):
            found = self._some(data, self.world.view.tasks)
            if found is not None and S.PENDING <= found.status.state < state and holds(found):
                self._edit(found, status=replace(found.status, state=state), node_id="node0")

    @rule(data=st.data(), desired=st.sampled_from([S.SHUTDOWN, S.REMOVE]))
    def give_up(self, data: st.DataObject, desired: S) -> None:
        found = self._some(data, self.world.view.tasks)
        if found is not None and found.desired_state < desired:
            self._edit(found, desired_state=desired)

    @rule(data=st.data(), number=st.integers(1, 4))
    def delete_tasks(self, data: st.DataObject, number: int) -> None:
        for _ in range(number):
            if (found := self._some(data, self.world.view.tasks)) is not None:
                self._delete(found.id)

    @rule(subnets=st.sampled_from([(), ("10.0.0.64/26",)]))
    def node_comes(self, subnets: tuple[str, ...]) -> None:
        self._write(node(self._name("node"), *subnets))

    @rule(data=st.data())
    def node_goes(self, data: st.DataObject) -> None:
        if (found := self._some(data, self.world.view.nodes)) is not None:
            self._delete(found.id)

    @rule(fate=st.sampled_from(["committed", "lost", "late"]))
    def the_next_answer_is_lost(self, fate: str) -> None:
        if fate == "late":
            self.world.raft.delay_next = True
        else:
            self.world.raft.lose_next_answer(committed=fate == "committed")

    @rule()
    def change_of_leader(self) -> None:
        async def change() -> None:
            if self.leader is not None:
                await self.leader.close()
            self.leader = Tasks()
            self.leader.start(
                Allocator(self.world.store, self.world.clock, Random(7), self.world.new_id).run(), "allocator"
            )

        self.runner.run(change())

    @rule()
    def a_snapshot_is_installed(self) -> None:
        async def restore() -> None:
            self.world.store.restore(self.world.store.snapshot()(), self.world.raft.index)

        self.runner.run(restore())

    @rule(turns=st.integers(1, 5))
    def little_happens(self, turns: int) -> None:
        async def wait() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)

        self.runner.run(wait())

    @rule()
    def the_swarm_comes_to_rest(self) -> None:
        self.runner.run(self._rest())
        self._check_that_nothing_waits_without_reason()

    # -- what always holds -----------------------------------------------------------------------------
    @invariant()
    def nothing_is_given_twice(self) -> None:
        view = self.world.view
        everything: list[Object] = [*view.nodes, *view.services, *view.tasks]
        given = Counter(pair for item in everything for pair in set(held(item)))
        given += Counter(pair for item in everything for pair in held(item)) - given
        assert not [pair for pair, times in given.items() if times > 1]
        ports = Counter(pair for item in view.services for pair in published(item))
        assert not [pair for pair, times in ports.items() if times > 1]
        vnis = Counter(vni for item in view.networks for vni in vnis_of(item))
        assert not [vni for vni, times in vnis.items() if times > 1]
        subnets = [ip_network(s) for item in view.networks for s in self.world.subnets(item.id)]
        assert not [
            p for p in combinations(subnets, 2) if p[0].version == p[1].version and p[0].overlaps(p[1])
        ]

    @invariant()
    def every_address_is_in_its_subnet_and_no_gateway(self) -> None:
        view = self.world.view
        for item in [*view.nodes, *view.services, *view.tasks]:
            for network_id, address in held(item):
                if network_id not in view.networks:
                    continue  # removed in the moment
                found = ip_interface(address)
                assert str(found.network) in self.world.subnets(network_id)
                options = self.world.network(network_id).ipam_options
                assert options is not None
                assert str(found.ip) not in {config.gateway for config in options.configs}

    # -- help --------------------------------------------------------------------------------------------
    def _check_that_nothing_waits_without_reason(self) -> None:
        view = self.world.view
        for item in view.networks:
            assert self.world.subnets(item.id) or trouble(item, view) != "it waits for the leader"
        for found in view.services:
            assert is_settled(found, view, ingress.find(view)) or self._waits(found)
        for one in view.tasks:
            if one.status.state is S.NEW and one.desired_state <= S.COMPLETE:
                assert one.status.err
                service = view.services.get(one.service_id)
                unsettled = service is not None and not is_settled(service, view, ingress.find(view))
                wanted = {wish.target for wish in one.spec.networks} | {self.world.ingress().id}
                assert unsettled or any(map(self._is_full, wanted))
            elif one.status.state is S.PENDING and one.service_id in view.services:
                assert one.endpoint is not None
        for each in view.nodes:
            assert each.attachments or self._is_full(self.world.ingress().id)

    def _waits(self, found: Service) -> bool:
        spec = found.spec.endpoint_spec
        networks = any(self._is_full(wish.target) for wish in found.spec.task_template.networks)
        return networks or (
            spec is not None and any(self._is_taken(p.published_port, found) for p in spec.ports)
        )

    def _is_taken(self, number: int, by_others_than: Service) -> bool:
        others = (other for other in self.world.view.services if other.id != by_others_than.id)
        return any(number == taken for other in others for _, taken in published(other))

    def _is_full(self, network_id: str) -> bool:
        """Also while it is not there, or has no subnet: it has no pair of subnets with room in both."""
        found = usage(self.world.view, network_id)
        narrow = [u for u in found if ":" not in u.subnet]
        wide = [u for u in found if ":" in u.subnet] or narrow
        return all(u.used >= u.size or v.used >= v.size for u, v in zip(narrow, wide, strict=True))

    def _name(self, kind: str) -> str:
        return f"{kind}-{next(self.numbers)}"

    def _some(self, data: st.DataObject, table: Iterable[O]) -> O | None:
        return data.draw(st.sampled_from(found)) if (found := list(table)) else None

    def _joins(self, data: st.DataObject) -> list[str]:
        found = [n.id for n in self.world.view.networks if not n.spec.ingress]
        return data.draw(st.lists(st.sampled_from(found), max_size=2, unique=True)) if found else []

    def _write(self, *objects: Object) -> None:
        def change(tx: Tx) -> None:
            for item in objects:
                tx.put(item)

        self.runner.run(self._transact(change))

    def _edit(self, item: Object, **fields: Any) -> None:
        """What the allocator has written meanwhile stays."""

        def change(tx: Tx) -> None:
            table = tx.table(BY_TYPE[type(item)].name)
            tx.put(replace(there(table.get(item.id)), **fields))

        self.runner.run(self._transact(change))

    def _delete(self, id: str) -> None:
        self.runner.run(self._transact(lambda tx: tx.delete(id)))

    async def _transact(self, change: Any) -> None:
        """The answers that get lost are the allocator's."""
        raft = self.world.raft
        lost, raft._unknown = raft._unknown, []
        late, raft.delay_next = raft.delay_next, False
        await self.world.store.transact(change)
        raft._unknown, raft.delay_next = lost, late

    async def _rest(self) -> None:
        await asyncio.sleep(5)

    async def _clear(self) -> None:
        """Once everything is gone, everything is free."""
        if self.leader is None:
            return
        await self._rest()
        view = self.world.view
        for table in (view.tasks, view.services, view.nodes):
            for item in table:
                await self._transact(lambda tx, id=item.id: tx.delete(id))
        await self._rest()
        view = self.world.view
        for each in view.networks:
            assert all(u.used == 0 for u in usage(view, each.id))
            if self.world.subnets(each.id) and not each.spec.ingress:
                await self._fill(each.id)
        await self.leader.close()

    async def _fill(self, network_id: str) -> None:
        """What the view calls free, the running allocator does give."""
        sizes = [u.size for u in usage(self.world.view, network_id) if ":" not in u.subnet]
        tasks = [task(f"{network_id}-{n}", networks=[network_id]) for n in range(sum(sizes) + 1)]
        await self._transact(lambda tx: [tx.put(one) for one in tasks])
        await self._rest()
        served = [one for one in tasks if self.world.task(one.id).status.state is S.PENDING]
        assert len(served) == sum(sizes)
        assert [u.used for u in usage(self.world.view, network_id) if ":" not in u.subnet] == sizes


TestAllocatorUnderFire = AllocatorUnderFire.TestCase
TestAllocatorUnderFire.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
