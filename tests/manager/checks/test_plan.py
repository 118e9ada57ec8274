"""Who is asked to check what."""

from __future__ import annotations

import pytest

from manager.checks.plan import LARGE_LIMITS, large_exchange, plan
from swarmcore.errors import Invalid, NotFound
from swarmcore.model.base import Driver
from swarmcore.model.node import NodeState
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.check import CheckedService
from tests.manager.checks.bench import CheckBench, network, node, shop, story, task


@story
async def test_one_running_container_of_each_node_takes_part(bench: CheckBench) -> None:
    await shop(bench)
    await bench.put(
        task("t0", "n1", {"shop1": ["10.1.0.20/24"]}, state=TaskState.STARTING),
        task("t9", "n2", {"shop1": ["10.1.0.21/24"]}),
        node("n3", "172.30.0.3"),
        task("t3", "n3", {"shop1": ["10.1.0.22/24"]}, state=TaskState.PREPARING),
    )
    made = plan(bench.store.view(), "shop1")
    assert [(p.name, p.task_id, p.addresses, p.vtep) for p in made.parties] == [
        ("host-n1", "t1", ("10.1.0.11",), "172.30.0.1"),
        ("host-n2", "t2", ("10.1.0.12",), "172.30.0.2"),
    ]
    assert made.remarks == ("host-n3 carries shop, but none of its containers there runs yet: not tested",)


@story
async def test_names_are_asked_for_with_their_network_and_addresses_with_a_port(bench: CheckBench) -> None:
    await shop(bench)
    made = plan(bench.store.view(), "shop1")
    assert made.names["api.shop"] == {"10.1.0.2"}
    assert made.names["tasks.api.shop"] == {"10.1.0.11", "10.1.0.12"}
    assert [{"10.1.0.11"}, {"10.1.0.12"}] == list(made.names.values())[2:]
    assert len(made.names) == 4
    assert made.services == (CheckedService(name="api", vip="10.1.0.2", port=8080),)


@story
async def test_without_a_network_the_hosts_that_are_up_take_part(bench: CheckBench) -> None:
    await shop(bench)
    await bench.put(
        node("n3", "172.30.0.3", state=NodeState.DOWN, ingress=["10.0.0.3/20"]), node("n4", "172.30.0.4")
    )
    made = plan(bench.store.view(), "")
    assert [(p.node_id, p.task_id, p.addresses) for p in made.parties] == [
        ("n1", "", ("10.0.0.1",)),
        ("n2", "", ("10.0.0.2",)),
    ]
    assert (made.names, made.services, made.host) == ({}, (), True)
    assert made.remarks == (
        "host-n3 is down: not tested",
        "host-n4 has no address on the ingress network yet: not tested",
    )
    assert plan(bench.store.view(), "ingress1").parties == made.parties


@story
async def test_what_cannot_be_checked_is_refused(bench: CheckBench) -> None:
    with pytest.raises(NotFound, match="no ingress network"):
        plan(bench.store.view(), "")
    with pytest.raises(NotFound, match="network nope not found"):
        plan(bench.store.view(), "nope")
    lan = network("lan1", "lan", driver_configuration=Driver(name="macvlan"))
    await bench.put(lan)
    with pytest.raises(Invalid, match="driver macvlan"):
        plan(bench.store.view(), "lan1")


@pytest.mark.parametrize(("peers", "size"), [(0, LARGE_LIMITS[1]), (32, 1 << 20), (100_000, LARGE_LIMITS[0])])
def test_large_exchanges_shrink_with_the_swarm(peers: int, size: int) -> None:
    assert large_exchange(peers) == size
