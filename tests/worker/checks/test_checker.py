"""An agent's part in a check, over this host's loopback: probes that pass, probes that fail, and what is left open."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
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
from tests.worker.sample import until
from worker.checks import probes
from worker.checks.checker import MOST_CHECKS, NetworkChecker
from worker.checks.name_probe import lookup
from worker.checks.probe_listener import LENGTH, TOKEN, ProbeListener, datagram, exactly, pattern, token_of

TOKEN_OF_TEST = token_of("check1")
FACTS = HostFacts(device="eth0", device_mtu=1500, mtu=1450)
FOUR, SIX = "127.0.0.1", "::1"


class Loopback:
    """This host's own namespace; it counts what is open."""

    def __init__(self) -> None:
        self.opened: list[socket.socket] = []

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        made = socket.socket(family, kind, proto)
        self.opened.append(made)
        return made

    @property
    def open(self) -> int:
        return sum(each.fileno() >= 0 for each in self.opened)


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


@pytest.fixture
async def listener() -> AsyncIterator[ProbeListener]:
    made = ProbeListener(Loopback(), TOKEN_OF_TEST)
    yield made
    await made.close()
    assert made._namespace.open == 0  # type: ignore[attr-defined]


def files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# -- an agent's part ---------------------------------------------------------------------------------
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


# -- listeners ---------------------------------------------------------------------------------------
async def test_a_listener_answers_only_who_knows_the_token(listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    wrong = token_of("another check")
    assert await probes.udp(Loopback(), FOUR, at.udp, wrong, "n2") is Outcome.LOST
    small, large = await probes.tcp(Loopback(), FOUR, at.tcp, wrong, 0)
    assert small in (Outcome.LOST, Outcome.REFUSED) and large is Outcome.UNTESTED
    assert listener.heard == set()
    assert await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, "n2") is Outcome.OK
    assert listener.heard == {"n2"}


async def test_a_listener_remembers_only_the_parties(listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, "n2")
    listener.knows({"n3"})
    assert listener.heard == set()
    for sender in ("n2", "n3"):
        assert await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, sender) is Outcome.OK
    assert listener.heard == {"n3"}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"x",
        TOKEN_OF_TEST,
        TOKEN_OF_TEST + b"\xff",
        TOKEN_OF_TEST + b"\x02\xff\xff",
        os.urandom(1400),
    ],
)
async def test_no_datagram_harms_a_listener(message: bytes, listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(message, (FOUR, at.udp))
    assert await probes.udp(Loopback(), FOUR, at.udp, TOKEN_OF_TEST, "n2") is Outcome.OK


@pytest.mark.parametrize(
    "head",
    [b"\0" * (TOKEN + LENGTH), TOKEN_OF_TEST + (1 << 40).to_bytes(LENGTH, "big"), b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_a_connection_that_says_anything_else_is_closed(head: bytes, listener: ProbeListener) -> None:
    (at,) = await listener.open((FOUR,))
    reader, writer = await asyncio.open_connection(FOUR, at.tcp)
    writer.write(head.ljust(TOKEN + LENGTH, b" "))
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_closing_ends_connections_that_are_open(listener: ProbeListener) -> None:
    before = files()
    (at,) = await listener.open((FOUR,))
    reader, writer = await asyncio.open_connection(FOUR, at.tcp)
    writer.write(TOKEN_OF_TEST + (8).to_bytes(LENGTH, "big") + b"four")
    assert await reader.readexactly(4) == b"four"
    await listener.close()
    await listener.close()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await until(lambda: files() == before)


# -- probes ------------------------------------------------------------------------------------------
@asynccontextmanager
async def peer_that(answers: Callable[[socket.socket], Awaitable[None]]) -> AsyncIterator[int]:
    """The port of a peer that treats one connection so."""
    tasks = Tasks()
    with socket.create_server((FOUR, 0)) as server:
        server.setblocking(False)

        async def serve() -> None:
            connection, _ = await asyncio.get_running_loop().sock_accept(server)
            with connection:
                connection.setblocking(False)
                await answers(connection)

        tasks.start(serve(), "peer")
        try:
            yield int(server.getsockname()[1])
        finally:
            await tasks.close()


async def test_a_flipped_bit_in_a_large_exchange_is_damage() -> None:
    async def flips(connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for flipped in (0, 1):
            head = await exactly(connection, TOKEN + LENGTH)
            left = int.from_bytes(head[TOKEN:], "big")
            while left:
                piece = await loop.sock_recv(connection, min(left, 65536))
                left -= len(piece)
                await loop.sock_sendall(connection, piece[:-1] + bytes([piece[-1] ^ flipped]))

    async with peer_that(flips) as port:
        found = await probes.tcp(Loopback(), FOUR, port, TOKEN_OF_TEST, 1 << 18)
    assert found == (Outcome.OK, Outcome.DAMAGED)


async def test_an_exchange_that_stands_still_is_lost() -> None:
    async def small_only(connection: socket.socket) -> None:
        await exactly(connection, TOKEN + LENGTH)
        await asyncio.get_running_loop().sock_sendall(connection, await exactly(connection, probes.SMALL))
        await asyncio.Event().wait()

    async with peer_that(small_only) as port:
        found = await probes.tcp(Loopback(), FOUR, port, TOKEN_OF_TEST, 1 << 24)
    assert found == (Outcome.OK, Outcome.LOST)


async def test_a_datagram_that_comes_back_different_is_damage() -> None:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind((FOUR, 0))

        async def flips() -> None:
            message, sender = await loop.sock_recvfrom(server, 65535)
            await loop.sock_sendto(server, message[:-1] + b"?", sender)

        tasks = Tasks()
        tasks.start(flips(), "flips")
        found = await probes.udp(Loopback(), FOUR, server.getsockname()[1], TOKEN_OF_TEST, "n1")
        await tasks.close()
    assert found is Outcome.DAMAGED


async def test_a_datagram_that_fills_the_route_is_sent_whole() -> None:
    assert len(datagram(TOKEN_OF_TEST, "n1", 1422)) == 1422
    assert datagram(TOKEN_OF_TEST, "n1", 0) == TOKEN_OF_TEST + b"\x02n1"
    found = await probes.udp(Loopback(), FOUR, 1, TOKEN_OF_TEST, "n1", mtu=70_000)
    assert found is Outcome.TOO_LARGE


def test_no_two_words_of_the_pattern_are_alike() -> None:
    assert pattern(10) == b"\0\0\0\0\0\0\0\1\0\0"
    whole = pattern(1 << 16)
    words = [whole[at : at + 4] for at in range(0, len(whole), 4)]
    assert len(set(words)) == len(words) and pattern(0) == b""


async def test_an_address_without_a_route_has_no_mtu() -> None:
    assert await probes.route_mtu(Loopback(), FOUR) == 65535
    assert await probes.route_mtu(Loopback(), "255.255.255.255") == 0


# -- names -------------------------------------------------------------------------------------------
async def answered(answer: bytes | None) -> Any:
    """What `lookup` makes of an answer, of which the question's id is the beginning."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setblocking(False)
        server.bind((FOUR, 0))

        async def answers() -> None:
            query, sender = await loop.sock_recvfrom(server, 65535)
            assert b"\x03api\x04shop\0\0\1\0\1" in query
            await loop.sock_sendto(server, b"stray datagram", sender)
            if answer is not None:
                await loop.sock_sendto(server, query[:2] + answer, sender)

        tasks = Tasks()
        tasks.start(answers(), "resolver")
        found = await lookup(Loopback(), "api.shop", server.getsockname())
        await tasks.close()
    return found


QUESTION = b"\x03api\x04shop\0\0\1\0\1"
RECORD = b"\xc0\x0c\0\1\0\1\0\0\0\x05\0\x04\x0a\1\0"


async def test_addresses_are_read_from_an_answer() -> None:
    found = await answered(b"\x85\x80\0\1\0\2\0\0\0\0" + QUESTION + RECORD + b"\x09" + RECORD + b"\x02")
    assert (found.outcome, found.addresses, found.partial) == (Outcome.OK, ("10.1.0.2", "10.1.0.9"), False)
    cut = await answered(b"\x87\x80\0\1\0\0\0\0\0\0" + QUESTION)
    assert (cut.outcome, cut.addresses, cut.partial) == (Outcome.OK, (), True)


async def test_answers_that_make_no_sense_are_damage() -> None:
    for answer in (b"", b"\x85\x80\0\1\0\2\0\0\0\0" + QUESTION + RECORD, os.urandom(3)):
        assert (await answered(answer)).outcome is Outcome.DAMAGED


async def test_a_resolver_that_is_not_there_or_silent() -> None:
    assert (await answered(None)).outcome is Outcome.LOST
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind((FOUR, 0))
        port = unused.getsockname()[1]
    assert (await lookup(Loopback(), "api.shop", (FOUR, port))).outcome is Outcome.REFUSED
    assert (await lookup(Loopback(), "x" * 64, (FOUR, port))).outcome is Outcome.UNTESTED
