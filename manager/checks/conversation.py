"""Checks a network between all nodes that carry it: asks their agents through their sessions, judges what they report.

Only the leader has sessions, so a follower asks the leader. A node that does not answer in time does not hold up
the others: the whole check ends within ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import TypeVar

from msgspec.structs import replace

from manager.agents.conversations import AgentLink, Conversations
from manager.checks import answers as check_answers
from manager.checks.diagnosis import Evidence, diagnose, remarks_on
from manager.checks.plan import Plan, large_exchange, plan
from manager.leader import Leader, OnLeader
from manager.raft.proposer import Proposer
from manager.store.store import Store
from swarmcore.aio import Changes
from swarmcore.clock import Clock
from swarmcore.errors import Forbidden, Invalid, NoLeader, NotFound
from swarmcore.ids import NewId
from swarmcore.model.node import NodeRole
from swarmcore.rpc.messages.check import (
    CheckedNode,
    CheckedPeer,
    CheckNetwork,
    CheckStep,
    EndCheck,
    NetworkReport,
    PeerReady,
    PreparePeer,
    ProbePeers,
    ProbeReport,
)
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
READY_WITHIN = 2.0
PROBES_TAKE = 5.5
REPORT_WITHIN = 7.3  # with what an agent compares before it probes
CALL_TIMEOUT = 25.0  # of a follower: another check may have to end first
R = TypeVar("R", PeerReady, ProbeReport)


class CheckConversation:
    """One check with its parties: what they are asked, and what has been heard of them so far."""

    def __init__(self, check_id: str, network_id: str, wanted: Plan, link: AgentLink) -> None:
        self._id, self._network_id, self._wanted, self._link = check_id, network_id, wanted, link
        self._parties = {party.node_id: party for party in wanted.parties}
        self._ready: dict[str, PeerReady] = {}
        self._reports: dict[str, ProbeReport] = {}
        self._problems: dict[str, str] = {}
        self._changes = Changes()

    async def hold(self) -> tuple[CheckedNode, ...]:
        """From the first question to the last answer; whatever ends it, the parties hear of the end."""
        try:
            self._prepare()
            await self._answers(self._ready, READY_WITHIN, "it did not answer in time")
            self._probe()
            await self._answers(self._reports, REPORT_WITHIN, "it did not report in time")
            return self._results()
        finally:
            for node_id in self._parties:
                self._link.tell(node_id, EndCheck(check_id=self._id))

    def answered(self, node_id: str, message: PeerReady | ProbeReport) -> None:
        if node_id not in self._parties:
            raise Forbidden("this node was not asked")
        if isinstance(message, ProbeReport):
            names, services = self._wanted.names, self._wanted.services
            self._reports[node_id] = check_answers.report(message, self._parties, names, services)
        elif message.problem:
            self._problems[node_id] = check_answers.ready(message, self._parties[node_id]).problem
        else:
            self._ready[node_id] = check_answers.ready(message, self._parties[node_id])
        self._changes.tell()

    def session_opened(self, node_id: str) -> None:
        """Whatever it was asked before is forgotten there: it stays out of this check."""

    def session_broke(self, node_id: str) -> None:
        self._absent(node_id, "its session with the leader broke")

    def _absent(self, node_id: str, problem: str) -> None:
        if node_id in self._parties and node_id not in self._reports:
            self._problems.setdefault(node_id, problem)
            self._changes.tell()

    def _ask(self, node_id: str, message: CheckStep, otherwise: str) -> None:
        if not self._link.tell(node_id, message):
            self._absent(node_id, otherwise)

    def _prepare(self) -> None:
        for party in self._wanted.parties:
            opening = PreparePeer(
                check_id=self._id,
                network_id="" if self._wanted.host else self._network_id,
                task_id=party.task_id,
                addresses=party.addresses,
            )
            self._ask(party.node_id, opening, "it has no session with the leader")

    def _probe(self) -> None:
        peers = [
            CheckedPeer(
                node_id=party.node_id, vtep=party.vtep, listening=self._ready[party.node_id].listening
            )
            for party in self._wanted.parties
            if party.node_id in self._ready and party.node_id not in self._problems
        ]
        for peer in peers:
            message = ProbePeers(
                check_id=self._id,
                peers=tuple(other for other in peers if other is not peer),
                names=tuple(self._wanted.names),
                services=self._wanted.services,
                large=large_exchange(len(peers) - 1),
                seconds=PROBES_TAKE,
            )
            self._ask(peer.node_id, message, "its session with the leader broke")

    async def _answers(self, answers: Mapping[str, R], seconds: float, late: str) -> None:
        """Until every party has answered or has a problem; after `seconds` being late is one."""
        try:
            async with asyncio.timeout(seconds):
                await self._changes.until(lambda: not self._missing(answers))
        except TimeoutError:
            for node_id in self._missing(answers):
                self._problems[node_id] = late

    def _missing(self, answers: Mapping[str, R]) -> list[str]:
        return [n for n in self._parties if n not in answers and n not in self._problems]

    def _results(self) -> tuple[CheckedNode, ...]:
        return tuple(
            replace(
                party,
                problem="" if party.node_id in self._reports else self._problems.get(party.node_id, ""),
                report=self._reports.get(party.node_id),
            )
            for party in self._parties.values()
        )


class NetworkChecks:
    """`check` works on every manager; the calls are registered on every manager and answered by the leader."""

    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        leader: Leader,
        link: AgentLink,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._store = store
        self._proposer = proposer
        self._link = link
        self._clock = clock
        self._conversations = Conversations[CheckConversation](link, new_id, over="this check is over")
        # One at a time: two would measure each other.
        self._turn = asyncio.Lock()
        self.on_leader = OnLeader(leader, CheckNetwork, NetworkReport, self._check, timeout=CALL_TIMEOUT)

    def register(self, server: RpcServer) -> None:
        self.on_leader.register(server)
        server.call(PeerReady, self.answered, roles=frozenset(NodeRole))
        server.call(ProbeReport, self.answered, roles=frozenset(NodeRole))

    def unregister(self, server: RpcServer) -> None:
        for kind in (PeerReady, ProbeReport):
            server.unregister(kind)
        self.on_leader.unregister(server)

    async def check(self, network_id: str = "") -> NetworkReport:
        """The network with this full id between its containers; without one, all hosts over the ingress network."""
        return await self.on_leader.ask(CheckNetwork(network_id=network_id))

    async def answered(self, peer: Peer, message: PeerReady | ProbeReport) -> None:
        self._conversations.find(message.check_id).answered(peer.node_id, message)

    async def _check(self, request: CheckNetwork) -> NetworkReport:
        network_id = request.network_id
        async with self._turn:
            await self._proposer.read_barrier()
            wanted = plan(self._store.view(), network_id)
            began = self._clock.monotonic()
            term = self._proposer.term
            with self._conversations.begun(
                lambda new: CheckConversation(new, network_id, wanted, self._link)
            ) as conversation:
                nodes = await conversation.hold()
            if not self._proposer.is_leader or self._proposer.term != term:
                # All sessions broke with the lead: what was heard says nothing of the network.
                raise NoLeader("the leader changed during the check", "make the check again")
            return _judged(wanted, nodes, self._names_now(network_id), self._clock.monotonic() - began)

    def _names_now(self, network_id: str) -> Mapping[str, frozenset[str]]:
        """What is right may have changed while the names were looked up."""
        try:
            return plan(self._store.view(), network_id).names
        except (NotFound, Invalid):
            return {}


def _judged(
    wanted: Plan, nodes: tuple[CheckedNode, ...], after: Mapping[str, frozenset[str]], took: float
) -> NetworkReport:
    evidence = Evidence(
        nodes=nodes,
        port=wanted.port,
        host=wanted.host,
        names={name: (right, after.get(name, right)) for name, right in wanted.names.items()},
    )
    findings = diagnose(evidence)
    log.info(
        "network checked",
        extra={"network": wanted.network, "nodes": len(nodes), "findings": len(findings)},
    )
    return NetworkReport(
        network=wanted.network,
        nodes=nodes,
        findings=findings,
        remarks=(*wanted.remarks, *remarks_on(evidence)),
        seconds=round(took, 3),
    )
