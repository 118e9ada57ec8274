"""Who is asked to check what, and what becomes of a check when agents are slow, gone or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from manager.checks.conversation import LARGE_LIMITS, large_exchange, plan
from manager.raft.proposer import Member
from swarmcore.errors import Forbidden, Invalid, NoLeader, NotFound
from swarmcore.model.base import Driver
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.node import NodeRole, NodeState
from swarmcore.model.task import TaskState
from swarmcore.rpc.messages.check import (
    CheckedService,
    CheckNetwork,
    EndCheck,
    FindingKind,
    Listening,
    PeerReady,
    PreparePeer,
    ProbePeers,
    ProbeReport,
)
from swarmcore.rpc.server import Peer
from tests.fakes.virtual_time import LoopClock, run_virtual
from tests.manager.checks.bench import CheckBench, network, node, service, task

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


class Agents:
    """Agents that answer as they are told to, without any network."""

    def __init__(self, bench: CheckBench, *node_ids: str) -> None:
        self.bench = bench
        self.mute: set[tuple[str, type]] = set()
        self.problems: dict[str, str] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        for node_id in node_ids:
            bench.link.agents[node_id] = partial(self._told, node_id)

    def _told(self, node_id: str, message: Any) -> None:
        if (node_id, type(message)) not in self.mute:
            self.bench.tasks.start(self._answer(node_id, message), "agent")

    async def _answer(self, node_id: str, message: Any) -> None:
        match message:
            case PreparePeer():
                listening = tuple(Listening(address=a, tcp=1, udp=2) for a in message.addresses)
                problem = self.problems.get(node_id, "")
                ready = PeerReady(
                    check_id=message.check_id, listening=() if problem else listening, problem=problem
                )
                await self.bench.answer(node_id, ready)
            case ProbePeers():
                said = self.reports.get(node_id, {})
                await self.bench.answer(node_id, ProbeReport(check_id=message.check_id, **said))

    def told(self, kind: type) -> list[tuple[str, Any]]:
        return [(to, message) for to, message in self.bench.link.told if isinstance(message, kind)]


# -- the plan ----------------------------------------------------------------------------------------
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


@story
async def test_one_node_is_no_pair(bench: CheckBench) -> None:
    await shop(bench, 1)
    Agents(bench, "n1")
    report = await bench.checks.check("shop1")
    assert report.remarks == ("fewer than two nodes carry shop: there is no pair to test",)


@pytest.mark.parametrize(("peers", "size"), [(0, LARGE_LIMITS[1]), (32, 1 << 20), (100_000, LARGE_LIMITS[0])])
def test_large_exchanges_shrink_with_the_swarm(peers: int, size: int) -> None:
    assert large_exchange(peers) == size


# -- the conversation --------------------------------------------------------------------------------
@story
async def test_everybody_is_told_of_the_others_and_of_the_end(bench: CheckBench) -> None:
    await shop(bench, 3)
    agents = Agents(bench, "n1", "n2", "n3")
    report = await bench.checks.check("shop1")
    assert report.network == "shop"
    assert [(n.node_id, n.problem, n.report is not None) for n in report.nodes] == [
        (f"n{n}", "", True) for n in (1, 2, 3)
    ]
    probes = dict(agents.told(ProbePeers))
    assert [peer.node_id for peer in probes["n2"].peers] == ["n1", "n3"]
    assert probes["n2"].peers[0].listening == (Listening(address="10.1.0.11", tcp=1, udp=2),)
    assert sorted(to for to, _ in agents.told(EndCheck)) == ["n1", "n2", "n3"]


@story
async def test_who_does_not_answer_holds_nobody_up_for_long(bench: CheckBench) -> None:
    await shop(bench, 4)
    agents = Agents(bench, "n1", "n2", "n3")
    agents.mute = {("n1", PreparePeer), ("n2", ProbePeers)}
    began = asyncio.get_running_loop().time()
    report = await bench.checks.check("shop1")
    assert asyncio.get_running_loop().time() - began < 10
    assert {n.node_id: n.problem for n in report.nodes} == {
        "n1": "it did not answer in time",
        "n2": "it did not report in time",
        "n3": "",
        "n4": "it has no session with the leader",
    }
    assert [f.kind for f in report.findings] == [FindingKind.ABSENT] * 3
    assert [peer.node_id for peer in dict(agents.told(ProbePeers))["n3"].peers] == ["n2"]


@story
async def test_a_session_that_breaks_is_not_waited_for(bench: CheckBench) -> None:
    await shop(bench)
    agents = Agents(bench, "n1", "n2")
    agents.mute = {("n1", PreparePeer)}
    checking = bench.tasks.start(bench.checks.check("shop1"), "check")
    await asyncio.sleep(0.5)
    bench.link.session_breaks("n1")
    await asyncio.sleep(0.1)
    assert checking.done()
    assert checking.result().nodes[0].problem == "its session with the leader broke"


@story
async def test_a_party_s_own_problem_is_told(bench: CheckBench) -> None:
    await shop(bench)
    agents = Agents(bench, "n1", "n2")
    agents.problems = {"n2": "task t2 has no container here"}
    report = await bench.checks.check("shop1")
    assert [f.text for f in report.findings] == ["host-n2 took no part: task t2 has no container here"]


@story
async def test_only_who_was_asked_may_answer_and_only_while_it_lasts(bench: CheckBench) -> None:
    await shop(bench)
    agents = Agents(bench, "n1", "n2")
    agents.mute = {("n1", PreparePeer)}
    checking = bench.tasks.start(bench.checks.check("shop1"), "check")
    await asyncio.sleep(0.5)
    with pytest.raises(Forbidden):
        await bench.answer("n7", PeerReady(check_id="check1"))
    await checking
    with pytest.raises(NotFound):
        await bench.answer("n1", PeerReady(check_id="check1"))


@story
async def test_checks_wait_for_each_other(bench: CheckBench) -> None:
    await shop(bench)
    Agents(bench, "n1", "n2")
    both = [bench.tasks.start(bench.checks.check(id), "check") for id in ("shop1", "")]
    await asyncio.gather(*both)
    kinds = [type(message).__name__ for _, message in bench.link.told]
    assert kinds == ["PreparePeer"] * 2 + ["ProbePeers"] * 2 + ["EndCheck"] * 2 + (
        ["PreparePeer"] * 2 + ["ProbePeers"] * 2 + ["EndCheck"] * 2
    )


@story
async def test_everybody_hears_of_the_end_of_a_check_that_is_cancelled(bench: CheckBench) -> None:
    await shop(bench)
    agents = Agents(bench, "n1", "n2")
    agents.mute = {("n1", PreparePeer)}
    checking = bench.tasks.start(bench.checks.check("shop1"), "check")
    await asyncio.sleep(0.5)
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)
    assert sorted(to for to, _ in agents.told(EndCheck)) == ["n1", "n2"]


# -- managers that do not lead -----------------------------------------------------------------------
@story
async def test_a_follower_asks_the_leader(bench: CheckBench) -> None:
    bench.raft.leading = False
    with pytest.raises(NoLeader):
        await bench.checks.check("shop1")
    bench.raft.other_leader = Member(node_id="m2", address="10.0.0.2:2377")
    assert await bench.checks.check("shop1") == "the leader's answer"  # type: ignore[comparison-overlap]
    assert bench.asked == [("10.0.0.2:2377", CheckNetwork(network_id="shop1"))]


@story
async def test_a_follower_does_not_pass_on_what_it_is_asked(bench: CheckBench) -> None:
    bench.raft.leading = False
    bench.raft.other_leader = Member(node_id="m2", address="10.0.0.2:2377")
    peer = Peer(node_id="m3", role=NodeRole.MANAGER, cluster_id="c1", address="10.0.0.3")
    with pytest.raises(NoLeader):
        await bench.checks.on_leader.passed_on(peer, CheckNetwork())


@story
async def test_a_check_that_outlives_the_lead_says_nothing_of_the_network(bench: CheckBench) -> None:
    await shop(bench)
    agents = Agents(bench, "n1", "n2")
    agents.mute = {("n1", PreparePeer)}
    checking = bench.tasks.start(_refused(bench), "check")
    await asyncio.sleep(0.5)
    bench.raft.leading = False
    for node_id in ("n1", "n2"):
        bench.link.session_breaks(node_id)
    assert "the leader changed" in await checking


async def _refused(bench: CheckBench) -> str:
    with pytest.raises(NoLeader) as refusal:
        await bench.checks.check("shop1")
    return str(refusal.value)
