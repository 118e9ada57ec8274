"""An agent's part in a check, over this host's loopback: probes that pass, probes that fail, and what is left open."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from swarmcore.aio import Tasks
from swarmcore.errors import NotFound, Unavailable
from swarmcore.rpc.messages.check import (
    CheckedPeer,
    CheckedService,
    EndCheck,
    HostFacts,
    Listening,
    Outcome,
    PeerReady,
    PreparePeer,
    ProbePeers,
    ProbeReport,
)
from tests.worker.checks.loopback import FOUR, SIX, Loopback
from tests.worker.sample import until
from worker.checks.checker import MOST_CHECKS, NetworkChecker

FACTS = HostFacts(device="eth0", device_mtu=1500, mtu=1450)


class HostProbing:
    def __init__(self) -> None:
        self.namespace = Loopback()
        self.repairs = 2
        self.slow = False

    async def namespace_for(self, task_id: str) -> Loopback:
        if task_id == "gone":
            raise NotFound("task gone has no container here")
        return self.namespace

    async def reconcile(self) -> int:
        if self.slow:
            await asyncio.Event().wait()
        return self.repairs

    async def facts(self, network_id: str) -> HostFacts:
        return FACTS


class Agent:
    """A checker, and the answers that it gave to its leader."""

    def __init__(self) -> None:
        self.probing = HostProbing()
        self.checker = NetworkChecker(self.probing)
        self.answers: list[PeerReady | ProbeReport] = []
        self.leader_is_gone = False

    async def tell(self, answer: PeerReady | ProbeReport) -> None:
        if self.leader_is_gone:
            raise Unavailable("no session with a leader")
        self.answers.append(answer)

    def told(self, message: Any) -> None:
        self.checker.told(message, "n1", self.tell)

    async def ready(self, check_id: str = "check1", *addresses: str, **more: Any) -> PeerReady:
        self.told(PreparePeer(check_id=check_id, network_id="", addresses=addresses or (FOUR,), **more))
        await until(lambda: bool(self.answers))
        answer = self.answers[-1]
        assert isinstance(answer, PeerReady)
        return answer

    async def report(self, *peers: CheckedPeer, **more: Any) -> ProbeReport:
        self.told(ProbePeers(check_id="check1", peers=peers, **more))
        await until(lambda: isinstance(self.answers[-1], ProbeReport))
        answer = self.answers[-1]
        assert isinstance(answer, ProbeReport)
        return answer

    @property
    def idle(self) -> bool:
        return self.checker.running == 0 and self.probing.namespace.open == 0


@pytest.fixture
async def agent() -> AsyncIterator[Agent]:
    made = Agent()
    try:
        yield made
    finally:
        await made.checker.close()
        assert made.probing.namespace.open == 0


async def test_an_agent_listens_probes_reports_and_closes(agent: Agent) -> None:
    ready = await agent.ready("check1", FOUR, SIX)
    assert [each.address for each in ready.listening] == [FOUR, SIX]
    peer = CheckedPeer(node_id="n1", vtep=FOUR, listening=ready.listening)
    report = await agent.report(peer, large=1 << 20)
    assert [(pair.node_id, pair.address) for pair in report.pairs] == [("n1", FOUR), ("n1", SIX)]
    for pair in report.pairs:
        assert {pair.udp, pair.tcp, pair.large_udp, pair.large_tcp} == {Outcome.OK}
        assert pair.mtu in (65535, 65536)
        assert pair.ping is (Outcome.OK if os.geteuid() == 0 else Outcome.UNTESTED)
    assert report.heard == ("n1",)
    assert (report.repairs, report.facts) == (2, FACTS)
    assert not agent.idle  # others may still probe it
    agent.told(EndCheck(check_id="check1"))
    await until(lambda: agent.idle)


async def test_what_does_not_answer_is_said_so_and_not_waited_for(agent: Agent) -> None:
    ready = await agent.ready()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, socket.socket() as full:
        silent.bind((FOUR, 0))
        full.bind((FOUR, 0))
        full.listen(0)
        deaf = Listening(address=FOUR, tcp=full.getsockname()[1], udp=silent.getsockname()[1])
        closed = CheckedPeer(node_id="n2", vtep="", listening=(Listening(address="127.0.0.2", tcp=1, udp=1),))
        report = await agent.report(CheckedPeer(node_id="n3", vtep="", listening=(deaf,)), closed)
    outcomes = {pair.node_id: (pair.udp, pair.tcp, pair.large_udp, pair.large_tcp) for pair in report.pairs}
    untested = (Outcome.UNTESTED, Outcome.UNTESTED)
    assert outcomes == {
        "n2": (Outcome.REFUSED, Outcome.REFUSED, *untested),
        "n3": (Outcome.LOST, Outcome.LOST, *untested),
    }
    assert ready.problem == ""


async def test_what_passes_at_the_second_try_passes(agent: Agent) -> None:
    ready = await agent.ready()
    (at,) = ready.listening
    with socket.create_server((FOUR, 0)) as server:
        server.setblocking(False)

        async def busy_once() -> None:
            """The first connection is not answered in time; later ones are, by the agent itself."""
            loop = asyncio.get_running_loop()
            silent, _ = await loop.sock_accept(server)
            second, _ = await loop.sock_accept(server)
            with silent, second, socket.create_connection((FOUR, at.tcp)) as onward:
                for each in (second, onward):
                    each.setblocking(False)
                await asyncio.gather(copy(second, onward), copy(onward, second))

        tasks = Tasks()
        tasks.start(busy_once(), "busy peer")
        peer = Listening(address=FOUR, tcp=server.getsockname()[1], udp=at.udp)
        report = await agent.report(CheckedPeer(node_id="n1", vtep="", listening=(peer,)))
        await tasks.close()
    (pair,) = report.pairs
    assert {pair.udp, pair.tcp, pair.large_udp, pair.large_tcp} == {Outcome.OK}


async def copy(source: socket.socket, target: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while piece := await loop.sock_recv(source, 65536):
        await loop.sock_sendall(target, piece)
    target.shutdown(socket.SHUT_WR)


async def test_services_that_refuse_are_told_from_those_that_do_not_answer(agent: Agent) -> None:
    await agent.ready()
    with socket.create_server((FOUR, 0)) as open_one:
        services = (
            CheckedService(name="open", vip=FOUR, port=open_one.getsockname()[1]),
            CheckedService(name="closed", vip="127.0.0.2", port=1),
        )
        report = await agent.report(services=services)
    assert [(each.name, each.outcome) for each in report.services] == [
        ("open", Outcome.OK),
        ("closed", Outcome.REFUSED),
    ]


async def test_an_agent_that_cannot_take_part_says_why(agent: Agent) -> None:
    assert (await agent.ready(task_id="gone")).problem == "task gone has no container here"
    await until(lambda: agent.idle)
    agent.answers.clear()
    assert "cannot listen on 192.0.2.1" in (await agent.ready("check2", "192.0.2.1")).problem
    await until(lambda: agent.idle)


async def test_too_many_checks_are_refused_and_the_others_go_on(agent: Agent) -> None:
    for number in range(MOST_CHECKS):
        agent.answers.clear()
        assert (await agent.ready(f"check{number}")).problem == ""
    agent.answers.clear()
    assert "other checks" in (await agent.ready("one-more")).problem
    assert agent.checker.running == MOST_CHECKS


async def test_a_check_whose_leader_died_ends_by_itself(agent: Agent) -> None:
    await agent.ready(seconds=0.05)
    await until(lambda: agent.idle)
    agent.leader_is_gone = True
    agent.told(PreparePeer(check_id="check2", network_id="", addresses=(FOUR,)))
    await until(lambda: agent.idle)


async def test_the_end_of_the_session_ends_all_checks(agent: Agent) -> None:
    await agent.ready()
    agent.checker.stop_all()
    await until(lambda: agent.idle)


async def test_a_kernel_that_is_slow_to_compare_does_not_hold_up_the_check(agent: Agent) -> None:
    agent.probing.slow = True
    await agent.ready()
    assert (await agent.report()).repairs == 0


async def test_what_there_was_no_time_for_is_untested(agent: Agent) -> None:
    ready = await agent.ready()
    peer = CheckedPeer(node_id="n1", vtep="", listening=ready.listening)
    report = await agent.report(peer, names=("api.shop",), seconds=0.0)
    assert report.pairs[0].tcp is Outcome.UNTESTED
    assert report.names[0].outcome is Outcome.UNTESTED


async def test_messages_of_checks_that_are_unknown_or_known_already_change_nothing(agent: Agent) -> None:
    agent.told(ProbePeers(check_id="nope"))
    agent.told(EndCheck(check_id="nope"))
    await agent.ready()
    agent.told(PreparePeer(check_id="check1", network_id="", addresses=(FOUR,)))
    await agent.report()
    agent.told(ProbePeers(check_id="check1"))
    assert [type(answer) for answer in agent.answers] == [PeerReady, ProbeReport]
