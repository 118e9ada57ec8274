"""Checks a network between all nodes that carry it: asks their agents through their sessions, judges what they report.

Only the leader has sessions, so a follower asks the leader. A node that does not answer in time does not hold up
the others: the whole check ends within ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from socket import inet_ntoa
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from manager.checks import answers as check_answers
from manager.checks.diagnosis import Evidence, diagnose, remarks_on
from manager.leader import Leader, OnLeader
from manager.raft.proposer import Proposer
from manager.rules.endpoint_table import derive
from manager.store.store import Store
from manager.store.tables import View
from netoverlay.dns.records import Names, key
from swarmcore.clock import Clock
from swarmcore.errors import Forbidden, Invalid, NoLeader, NotFound
from swarmcore.ids import NewId
from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.endpoint import Protocol as PortProtocol
from swarmcore.model.network import OVERLAY
from swarmcore.model.node import NodeRole, NodeState
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayService
from swarmcore.rpc.messages.check import (
    CheckedNode,
    CheckedPeer,
    CheckedService,
    CheckNetwork,
    EndCheck,
    NetworkReport,
    PeerReady,
    PreparePeer,
    ProbePeers,
    ProbeReport,
)
from swarmcore.rpc.messages.session import ToAgent
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
READY_WITHIN = 2.0
PROBES_TAKE = 5.5
REPORT_WITHIN = 7.3  # with what an agent compares before it probes
CALL_TIMEOUT = 25.0  # of a follower: another check may have to end first
LARGE_TOTAL = 32 << 20  # bytes that one node sends in large exchanges, over all peers
LARGE_LIMITS = (256 << 10, 2 << 20)
MOST_SERVICES = 100  # whose names and addresses are looked at
R = TypeVar("R", PeerReady, ProbeReport)


class AgentLink(Protocol):
    """What a check needs of the dispatcher."""

    def tell(self, node_id: str, message: ToAgent) -> bool: ...

    def listen(self, listener: Callable[[str, bool], None]) -> None: ...


class Plan(Struct, frozen=True, kw_only=True):
    """Who takes part, and what is asked of each of them."""

    network: str
    parties: tuple[CheckedNode, ...]
    names: Mapping[str, frozenset[str]]
    services: tuple[CheckedService, ...]
    port: int
    host: bool
    remarks: tuple[str, ...] = ()


# -- what to do, of the state alone ------------------------------------------------------------------
def plan(view: View, network_id: str) -> Plan:
    """`network_id` empty: all hosts, over the ingress network. NotFound, or Invalid where it is no overlay."""
    host = not network_id
    if host:
        network_id = next((n.id for n in view.networks if n.spec.ingress and not n.pending_delete), "")
    network = view.networks.get(network_id)
    table = derive(view, network_id)
    if network is None or table is None:
        raise NotFound(
            "the swarm has no ingress network" if host else f"network {network_id} not found",
            'make one with "pyswarm network create -d overlay --ingress ingress", or name a network'
            if host
            else None,
        )
    if network.spec.driver != OVERLAY:
        raise Invalid(
            f"network {network.spec.name} is of the driver {network.spec.driver}: every host has its own",
            "name an overlay network",
        )
    host = host or network.spec.ingress
    parties, remarks = _hosts(view, table) if host else _containers(view, table)
    services = [] if host else sorted(table.services.values(), key=lambda service: service.name)
    if len(services) > MOST_SERVICES:
        remarks.append(f"only {MOST_SERVICES} of {len(services)} services were looked up")
        services = services[:MOST_SERVICES]
    if len(parties) < 2:
        remarks.append(
            f"fewer than two nodes carry {network.spec.name}: there is no pair to test"
            if not host
            else "fewer than two nodes are up: there is no pair to test"
        )
    return Plan(
        network=network.spec.name,
        parties=tuple(parties),
        names={} if host else _names(table, parties, services),
        services=tuple(found for service in services for found in _virtual(service)),
        port=table.network.port,
        host=host,
        remarks=tuple(remarks),
    )


def _hosts(view: View, table: NetworkTable) -> tuple[list[CheckedNode], list[str]]:
    parties, remarks = [], []
    for node in sorted(view.nodes, key=lambda node: _name(view, node.id)):
        name = _name(view, node.id)
        known = table.nodes.get(node.id)
        if node.status.state is NodeState.DOWN:
            remarks.append(f"{name} is down: not tested")
        elif known is None:
            remarks.append(f"{name} has no address on the ingress network yet: not tested")
        else:
            parties.append(
                CheckedNode(node_id=node.id, name=name, vtep=known.vtep, addresses=known.addresses)
            )
    return parties, remarks


def _containers(view: View, table: NetworkTable) -> tuple[list[CheckedNode], list[str]]:
    """One running container on each node that carries the network."""
    chosen: dict[str, OverlayEndpoint] = {}
    for endpoint in sorted(table.endpoints.values(), key=lambda endpoint: endpoint.id):
        if endpoint.active:
            chosen.setdefault(endpoint.node_id, endpoint)
    parties = [
        CheckedNode(
            node_id=node_id,
            name=_name(view, node_id),
            vtep=table.nodes[node_id].vtep if node_id in table.nodes else "",
            addresses=endpoint.addresses,
            task_id=endpoint.id,
        )
        for node_id, endpoint in chosen.items()
    ]
    remarks = [
        f"{_name(view, node_id)} carries {table.network.name}, but none of its containers there runs yet: not tested"
        for node_id in sorted({e.node_id for e in table.endpoints.values()} - set(chosen))
    ]
    return sorted(parties, key=lambda party: (party.name, party.node_id)), remarks


def _name(view: View, node_id: str) -> str:
    node = view.nodes.get(node_id)
    described = node.description.hostname if node is not None and node.description is not None else ""
    return described or node_id[:12]


def _names(
    table: NetworkTable, parties: Sequence[CheckedNode], services: Sequence[OverlayService]
) -> dict[str, frozenset[str]]:
    """Names and the IPv4 addresses that they stand for.

    They are asked for with the network's name behind: a container may be on others, where they mean something else.
    """
    known = Names(table).addresses
    plain = [name for service in services for name in (service.name, f"tasks.{service.name}")]
    plain += [table.endpoints[party.task_id].name for party in parties]
    return {
        f"{name}.{table.network.name}": frozenset(
            inet_ntoa(address) for address in known.get(key(name), ()) if len(address) == 4
        )
        for name in plain
    }


def _virtual(service: OverlayService) -> list[CheckedService]:
    port = next((p.target_port for p in service.ports if p.protocol is PortProtocol.TCP and p.target_port), 0)
    vips = service.vips if service.mode is EndpointMode.VIP else ()
    return [CheckedService(name=service.name, vip=vip, port=port) for vip in vips]


def large_exchange(peers: int) -> int:
    """How many bytes a large exchange has with each of so many peers: a big swarm is not to fill its links."""
    least, most = LARGE_LIMITS
    return max(least, min(most, LARGE_TOTAL // max(peers, 1)))


# -- a check that runs -------------------------------------------------------------------------------
class _Running:
    """What has been heard of the parties so far."""

    def __init__(self, wanted: Plan) -> None:
        self._wanted = wanted
        self.parties = {party.node_id: party for party in wanted.parties}
        self.ready: dict[str, PeerReady] = {}
        self.reports: dict[str, ProbeReport] = {}
        self.problems: dict[str, str] = {}
        self._changed = asyncio.Event()

    def take(self, node_id: str, message: PeerReady | ProbeReport) -> None:
        if node_id not in self.parties:
            raise Forbidden("this node was not asked")
        if isinstance(message, ProbeReport):
            names, services = self._wanted.names, self._wanted.services
            self.reports[node_id] = check_answers.report(message, self.parties, names, services)
        elif message.problem:
            self.problems[node_id] = check_answers.ready(message, self.parties[node_id]).problem
        else:
            self.ready[node_id] = check_answers.ready(message, self.parties[node_id])
        self._changed.set()

    def gone(self, node_id: str, problem: str) -> None:
        if node_id in self.parties and node_id not in self.reports:
            self.problems.setdefault(node_id, problem)
            self._changed.set()

    async def wait(self, answers: Mapping[str, R], seconds: float, late: str) -> None:
        """Until every party has answered or has a problem; after `seconds` being late is one."""
        try:
            async with asyncio.timeout(seconds):
                while missing := self._missing(answers):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            for node_id in missing:
                self.problems[node_id] = late

    def _missing(self, answers: Mapping[str, R]) -> list[str]:
        return [n for n in self.parties if n not in answers and n not in self.problems]

    def results(self) -> tuple[CheckedNode, ...]:
        return tuple(
            replace(
                party,
                problem="" if party.node_id in self.reports else self.problems.get(party.node_id, ""),
                report=self.reports.get(party.node_id),
            )
            for party in self.parties.values()
        )


class NetworkChecks:
    """`check` works on every manager; the calls are registered on every manager and answered by the leader."""

    def __init__(
        self,
        store: Store,
        proposer: Proposer,
        leader: Leader,
        dispatcher: AgentLink,
        clock: Clock,
        new_id: NewId,
    ) -> None:
        self._store = store
        self._proposer = proposer
        self._link = dispatcher
        self._clock = clock
        self._new_id = new_id
        self._running: dict[str, _Running] = {}
        # One at a time: two would measure each other.
        self._turn = asyncio.Lock()
        self.on_leader = OnLeader(leader, CheckNetwork, NetworkReport, self._check, timeout=CALL_TIMEOUT)
        dispatcher.listen(self._session_changed)

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
        running = self._running.get(message.check_id)
        if running is None:
            raise NotFound("this check is over")
        running.take(peer.node_id, message)

    def _session_changed(self, node_id: str, connected: bool) -> None:
        if not connected:
            for running in self._running.values():
                running.gone(node_id, "its session with the leader broke")

    async def _check(self, request: CheckNetwork) -> NetworkReport:
        network_id = request.network_id
        async with self._turn:
            await self._proposer.read_barrier()
            wanted = plan(self._store.view(), network_id)
            began = self._clock.monotonic()
            term = self._proposer.term
            nodes = await self._ask(network_id, wanted)
            if not self._proposer.is_leader or self._proposer.term != term:
                # All sessions broke with the lead: what was heard says nothing of the network.
                raise NoLeader("the leader changed during the check", "make the check again")
            after = self._names_now(network_id)
            evidence = Evidence(
                nodes=nodes,
                port=wanted.port,
                host=wanted.host,
                names={name: (right, after.get(name, right)) for name, right in wanted.names.items()},
            )
            findings = diagnose(evidence)
            took = self._clock.monotonic() - began
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

    def _names_now(self, network_id: str) -> Mapping[str, frozenset[str]]:
        """What is right may have changed while the names were looked up."""
        try:
            return plan(self._store.view(), network_id).names
        except (NotFound, Invalid):
            return {}

    async def _ask(self, network_id: str, wanted: Plan) -> tuple[CheckedNode, ...]:
        check_id = self._new_id()
        running = self._running[check_id] = _Running(wanted)
        try:
            for party in wanted.parties:
                opening = PreparePeer(
                    check_id=check_id,
                    network_id="" if wanted.host else network_id,
                    task_id=party.task_id,
                    addresses=party.addresses,
                )
                if not self._link.tell(party.node_id, opening):
                    running.gone(party.node_id, "it has no session with the leader")
            await running.wait(running.ready, READY_WITHIN, "it did not answer in time")
            self._begin(check_id, running, wanted)
            await running.wait(running.reports, REPORT_WITHIN, "it did not report in time")
            return running.results()
        finally:
            del self._running[check_id]
            for party in wanted.parties:
                self._link.tell(party.node_id, EndCheck(check_id=check_id))

    def _begin(self, check_id: str, running: _Running, wanted: Plan) -> None:
        peers = [
            CheckedPeer(
                node_id=party.node_id, vtep=party.vtep, listening=running.ready[party.node_id].listening
            )
            for party in wanted.parties
            if party.node_id in running.ready and party.node_id not in running.problems
        ]
        for peer in peers:
            message = ProbePeers(
                check_id=check_id,
                peers=tuple(other for other in peers if other is not peer),
                names=tuple(wanted.names),
                services=wanted.services,
                large=large_exchange(len(peers) - 1),
                seconds=PROBES_TAKE,
            )
            if not self._link.tell(peer.node_id, message):
                running.gone(peer.node_id, "its session with the leader broke")
