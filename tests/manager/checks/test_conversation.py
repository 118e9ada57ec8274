"""What becomes of a check when agents are slow, gone or wrong."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from manager.raft.proposer import Member
from swarmcore.errors import Forbidden, NoLeader, NotFound
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.check import (
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
from tests.manager.checks.bench import CheckBench, shop, story


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


@story
async def test_one_node_is_no_pair(bench: CheckBench) -> None:
    await shop(bench, 1)
    Agents(bench, "n1")
    report = await bench.checks.check("shop1")
    assert report.remarks == ("fewer than two nodes carry shop: there is no pair to test",)


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
