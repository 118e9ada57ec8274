"""This node's part in checks of networks: listens for its peers' probes, probes them, and reports to the leader.

Whatever becomes of the leader, everything of a check is closed when its time is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Protocol

from msgspec.structs import replace

from swarmcore.aio import Tasks
from swarmcore.errors import SwarmError
from swarmcore.rpc.messages.check import (
    CheckedPeer,
    CheckStep,
    EndCheck,
    HostFacts,
    Listening,
    NameResult,
    Outcome,
    PairResult,
    PathResult,
    PeerReady,
    PreparePeer,
    ProbePeers,
    ProbeReport,
    ServiceResult,
)
from worker.checks import probes
from worker.checks.name_probe import lookup
from worker.checks.probe_listener import Opens, ProbeListener, token_of

log = logging.getLogger(__name__)
MOST_CHECKS = 4  # at a time
LONGEST = 30.0  # seconds that a leader may ask for
PARALLEL = 32  # probes at a time; each takes seconds only where something is wrong
PING_WAIT = 1.3
PING_TRIES = 3
MENDING = 1.5  # seconds that comparing the kernel with the tables may take
CALL_TIMEOUT = 3.0
DISCARD = 9  # a port (RFC 863) that next to nobody serves
PING_SIZE = 84  # as ping(8) sends
# Of two outcomes the one that counts: it comes first here.
_WEIGHT = (
    Outcome.DAMAGED,
    Outcome.OK,
    Outcome.REFUSED,
    Outcome.TOO_LARGE,
    Outcome.LOST,
    Outcome.UNTESTED,
)
Job = Coroutine[Any, Any, None]
Tell = Callable[[PeerReady | ProbeReport], Awaitable[None]]


class Probing(Protocol):
    """What a check needs of this host's networking."""

    async def namespace_for(self, task_id: str) -> Opens:
        """The namespace of this node's container of the task; the host's own for "". NotFound where there is none."""
        ...

    async def reconcile(self) -> int:
        """Compare the kernel with the tables now; how many differences were found and mended."""
        ...

    async def facts(self, network_id: str) -> HostFacts:
        """Of the network's devices on this host and of what lies below them; "" means the ingress network."""
        ...


class NetworkChecker:
    """`told` takes what the session brings, `stop_all` ends with the session, `close` with the agent."""

    def __init__(self, probing: Probing) -> None:
        self._probing = probing
        self._tasks = Tasks()
        self._checks: dict[str, _Check] = {}

    def told(self, message: CheckStep, node_id: str, tell: Tell) -> None:
        """Start the next step of a check; `tell` brings an answer to the leader that asked."""
        match message:
            case PreparePeer():
                if message.check_id not in self._checks:
                    check = _Check(message, node_id, self._probing, tell)
                    busy = len(self._checks) >= MOST_CHECKS
                    if not busy:
                        self._checks[message.check_id] = check
                    self._tasks.start(self._live(check, busy), f"network check {message.check_id}")
            case ProbePeers():
                if (found := self._checks.get(message.check_id)) is not None:
                    found.probe(message)
            case EndCheck():
                if (found := self._checks.get(message.check_id)) is not None:
                    found.end()

    async def _live(self, check: _Check, busy: bool) -> None:
        try:
            if busy:
                await check.refuse("it takes part in other checks already")
            else:
                await check.live()
        except (SwarmError, OSError) as error:
            log.info("network check ended early", extra={"check": check.id, "reason": str(error)})
        finally:
            if self._checks.get(check.id) is check:
                del self._checks[check.id]

    def stop_all(self) -> None:
        """The session has ended: the leader that asked will not hear the answers."""
        for check in self._checks.values():
            check.end()

    @property
    def running(self) -> int:
        return len(self._checks)

    async def close(self) -> None:
        await self._tasks.close()
        self._checks.clear()


class _Check:
    """One check on this node, from its first message to its end."""

    def __init__(self, opening: PreparePeer, node_id: str, probing: Probing, tell: Tell) -> None:
        self.id = opening.check_id
        self._opening = opening
        self._node_id = node_id
        self._probing = probing
        self._tell = tell
        self._token = token_of(opening.check_id)
        self._asked: asyncio.Future[ProbePeers] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()

    def probe(self, message: ProbePeers) -> None:
        if not self._asked.done():
            self._asked.set_result(message)

    def end(self) -> None:
        self._ended.set()

    async def refuse(self, problem: str) -> None:
        await self._tell(PeerReady(check_id=self.id, problem=problem))

    async def live(self) -> None:
        parts = Tasks()
        try:
            working = parts.start(self._work(), f"probes of check {self.id}")
            ended = parts.start(self._ended.wait(), f"end of check {self.id}")
            await asyncio.wait(
                {working, ended},
                timeout=min(self._opening.seconds, LONGEST),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            await parts.close()

    async def _work(self) -> None:
        try:
            namespace = await self._probing.namespace_for(self._opening.task_id)
            host = await self._probing.namespace_for("")
        except (SwarmError, OSError) as error:
            await self.refuse(str(error))
            return
        listener = ProbeListener(namespace, self._token)
        background = Tasks()
        try:
            repairs = background.start(self._probing.reconcile(), f"repairs of check {self.id}")
            try:
                listening = await listener.open(self._opening.addresses)
            except OSError as error:
                await self.refuse(error.strerror or str(error))
                return
            await self._tell(PeerReady(check_id=self.id, listening=listening))
            wanted = await self._asked
            listener.knows({peer.node_id for peer in wanted.peers})
            report = await self._report(wanted, namespace, host, repairs)
            await self._tell(replace(report, heard=tuple(sorted(listener.heard))))
            await asyncio.Event().wait()  # the others may still be at it: `live` ends this
        except (SwarmError, OSError) as error:
            log.info("network check cannot go on", extra={"check": self.id, "reason": str(error)})
        finally:
            try:
                await background.close()
            finally:
                await listener.close()

    async def _report(
        self, wanted: ProbePeers, namespace: Opens, host: Opens, repairs: asyncio.Task[int]
    ) -> ProbeReport:
        """Everything that was found out by the deadline; what was not is `UNTESTED`, or left out."""
        await asyncio.wait({repairs}, timeout=MENDING)
        facts = await self._probing.facts(self._opening.network_id)
        collected = _Collected(wanted)
        jobs = Tasks()
        try:
            started = [jobs.start(job, "probe") for job in self._jobs(collected, namespace, host)]
            if started:
                _, late = await asyncio.wait(started, timeout=wanted.seconds)
                if late:
                    log.info("network check ran out of time", extra={"check": self.id, "late": len(late)})
        finally:
            await jobs.close()
        return ProbeReport(
            check_id=self.id,
            pairs=tuple(collected.pairs.values()),
            paths=tuple(collected.paths),
            names=tuple(collected.names.values()),
            services=tuple(collected.services),
            repairs=repairs.result() if repairs.done() and repairs.exception() is None else 0,
            facts=facts,
        )

    def _jobs(self, collected: _Collected, namespace: Opens, host: Opens) -> Iterator[Job]:
        gate = asyncio.Semaphore(PARALLEL)
        wanted = collected.wanted
        for peer in wanted.peers:
            for listening in peer.listening:
                yield self._pair(collected, namespace, peer.node_id, listening, gate)
            if peer.vtep:
                yield _path(collected, host, peer, gate)
        for name in wanted.names:
            yield _name(collected, namespace, name, gate)
        for index in range(len(wanted.services)):
            yield _service(collected, namespace, index, gate)

    async def _pair(
        self, collected: _Collected, namespace: Opens, node_id: str, at: Listening, gate: asyncio.Semaphore
    ) -> None:
        async with gate:
            place, large = (node_id, at.address), collected.wanted.large
            found = collected.pairs[place] = await self._once(namespace, node_id, at, large)
            if _is_doubtful(found):
                again = await self._once(namespace, node_id, at, large)
                collected.pairs[place] = _together(found, again)

    async def _once(self, namespace: Opens, node_id: str, at: Listening, large: int) -> PairResult:
        mtu = await probes.route_mtu(namespace, at.address)
        pings, (udp, large_udp), (tcp, large_tcp) = await asyncio.gather(
            probes.ping(namespace, at.address, (PING_SIZE,), wait=PING_WAIT, tries=PING_TRIES),
            self._datagrams(namespace, at, mtu),
            probes.tcp(namespace, at.address, at.tcp, self._token, large),
        )
        return PairResult(
            node_id=node_id,
            address=at.address,
            ping=_pinged(pings),
            udp=udp,
            tcp=tcp,
            large_udp=large_udp,
            large_tcp=large_tcp,
            mtu=mtu,
        )

    async def _datagrams(self, namespace: Opens, at: Listening, mtu: int) -> tuple[Outcome, Outcome]:
        small = await probes.udp(namespace, at.address, at.udp, self._token, self._node_id)
        if small is not Outcome.OK or not mtu:
            return small, Outcome.UNTESTED
        return small, await probes.udp(namespace, at.address, at.udp, self._token, self._node_id, mtu=mtu)


class _Collected:
    """Results as they come, so that a deadline keeps those that are there."""

    def __init__(self, wanted: ProbePeers) -> None:
        self.wanted = wanted
        self.pairs = {
            (peer.node_id, at.address): PairResult(node_id=peer.node_id, address=at.address)
            for peer in wanted.peers
            for at in peer.listening
        }
        self.paths: list[PathResult] = []
        self.names = {name: NameResult(name=name, outcome=Outcome.UNTESTED) for name in wanted.names}
        self.services = [
            ServiceResult(name=each.name, vip=each.vip, port=each.port, outcome=Outcome.UNTESTED)
            for each in wanted.services
        ]


async def _path(collected: _Collected, host: Opens, peer: CheckedPeer, gate: asyncio.Semaphore) -> None:
    async with gate:
        mtu = await probes.route_mtu(host, peer.vtep)
        passed = await probes.path_mtu(host, peer.vtep, mtu) if mtu else 0
        collected.paths.append(PathResult(node_id=peer.node_id, mtu=mtu, passed=passed))


async def _name(collected: _Collected, namespace: Opens, name: str, gate: asyncio.Semaphore) -> None:
    async with gate:
        collected.names[name] = await lookup(namespace, name)


async def _service(collected: _Collected, namespace: Opens, index: int, gate: asyncio.Semaphore) -> None:
    async with gate:
        service = collected.services[index]
        # Any port shows whether the address is translated: who does not listen there refuses.
        outcome = await probes.connects(namespace, service.vip, service.port or DISCARD)
        collected.services[index] = replace(service, outcome=outcome)


def _is_doubtful(found: PairResult) -> bool:
    """Something passes, and something does not: a host that is too busy looks like that too."""
    rest = (found.udp, found.tcp, found.large_udp, found.large_tcp)
    return Outcome.OK in (found.ping, *rest) and Outcome.LOST in rest


def _together(first: PairResult, second: PairResult) -> PairResult:
    """What worked once works; but what came back damaged once is damaged."""
    merged = {}
    for probe in ("ping", "udp", "tcp", "large_udp", "large_tcp"):
        both: tuple[Outcome, Outcome] = (getattr(first, probe), getattr(second, probe))
        merged[probe] = min(both, key=_WEIGHT.index)
    return replace(second, **merged)


def _pinged(pings: probes.Ping) -> Outcome:
    if pings.passed is None:
        return Outcome.UNTESTED
    return Outcome.OK if pings.passed else Outcome.LOST
