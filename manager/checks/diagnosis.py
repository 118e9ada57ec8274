"""What the results of a network check mean: a pure judgement that names who is at fault, in words.

The order of suspicion: who did not take part; what does not pass at all; what passes small and not large; names;
virtual addresses; stale entries. Every probe that failed is in a finding, but pings only tell causes apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from msgspec import Struct

from manager.checks.names import name_findings, service_findings
from swarmcore.rpc.messages.check import (
    CheckedNode,
    Finding,
    FindingKind,
    HostFacts,
    Outcome,
    PairResult,
    PathResult,
    ProbeReport,
)

OK, LOST, REFUSED, DAMAGED, UNTESTED = (
    Outcome.OK,
    Outcome.LOST,
    Outcome.REFUSED,
    Outcome.DAMAGED,
    Outcome.UNTESTED,
)
# Outer IP, UDP and VXLAN headers and the inner Ethernet header (RFC 7348).
OVERHEAD = {4: 50, 6: 70}
_OFFLOAD = "turn it off on the underlay's device and try again: ethtool -K {device} {feature} off"
_MTU_HINT = (
    "let every link between them carry the larger packets, or make the network anew with "
    "--opt com.docker.network.driver.mtu={mtu}"
)


class Evidence(Struct, frozen=True, kw_only=True):
    """All that a check has brought. `host`: it was made between the hosts, over the ingress network.

    `names` gives for every name the answers that are right: more than one if the table changed during the check.
    """

    nodes: tuple[CheckedNode, ...]
    port: int = 4789
    host: bool = False
    names: Mapping[str, tuple[frozenset[str], ...]] = {}


class _Pair(Struct, frozen=True, kw_only=True):
    """One direction between two nodes, with all that both ends know of it."""

    a: CheckedNode
    b: CheckedNode
    result: PairResult
    path: PathResult
    arrived: bool  # the small datagrams from a reached b
    answers: bool  # those from b reached a

    @property
    def label(self) -> str:
        return f"{self.a.name} -> {self.b.name}"

    @property
    def ends(self) -> tuple[str, str]:
        return (self.a.node_id, self.b.node_id)

    @property
    def small(self) -> tuple[Outcome, Outcome, Outcome]:
        return (self.result.ping, self.result.udp, self.result.tcp)

    @property
    def large(self) -> tuple[Outcome, Outcome]:
        return (self.result.large_udp, self.result.large_tcp)

    @property
    def silent(self) -> bool:
        """Nothing came back, not even a refusal."""
        return not any(o in (OK, REFUSED, DAMAGED) for o in self.small) and any(
            o is not UNTESTED for o in self.small
        )


def diagnose(evidence: Evidence) -> tuple[Finding, ...]:
    """The findings, the gravest first; none means that everything that was tested works."""
    found = [
        *_absent(evidence),
        *_pairs(evidence),
        *(
            finding
            for node, report in _reports(evidence)
            for finding in name_findings(node, report, evidence.names)
        ),
        *(finding for node, report in _reports(evidence) for finding in service_findings(node, report)),
        *_stale(evidence),
    ]
    return tuple(dict.fromkeys(found))


def remarks_on(evidence: Evidence) -> tuple[str, ...]:
    """What could not be looked at, and is no fault."""
    guarded = {
        pair.b.name: _facts(pair.b).guard for pair in _all_pairs(evidence) if _kept_off(pair, evidence)
    }
    return tuple(
        f"the firewall of {name} ({guard}) lets only the pings of this check in; published ports are forwarded, "
        "and do not need more"
        for name, guard in sorted(guarded.items())
    )


def _kept_off(pair: _Pair, evidence: Evidence) -> bool:
    """The host itself takes in only what its administrator named: what the mesh forwards does not meet that chain."""
    return (
        evidence.host
        and bool(_facts(pair.b).guard)
        and pair.result.ping is OK
        and all(outcome in (LOST, REFUSED, UNTESTED) for outcome in pair.small[1:])
    )


def _reports(evidence: Evidence) -> Iterator[tuple[CheckedNode, ProbeReport]]:
    for node in evidence.nodes:
        if node.report is not None:
            yield node, node.report


def _absent(evidence: Evidence) -> Iterator[Finding]:
    for node in evidence.nodes:
        if node.problem:
            yield Finding(
                kind=FindingKind.ABSENT,
                nodes=(node.node_id,),
                text=f"{node.name} took no part: {node.problem}",
                hint="look at its daemon's log",
            )


# -- pairs -------------------------------------------------------------------------------------------
def _all_pairs(evidence: Evidence) -> list[_Pair]:
    known = {node.node_id: node for node in evidence.nodes}
    pairs = []
    for a, report in _reports(evidence):
        paths = {path.node_id: path for path in report.paths}
        for result in report.pairs:
            if (b := known.get(result.node_id)) is None:
                continue
            pairs.append(
                _Pair(
                    a=a,
                    b=b,
                    result=result,
                    path=paths.get(b.node_id, PathResult(node_id=b.node_id)),
                    arrived=b.report is not None and a.node_id in b.report.heard,
                    answers=b.node_id in report.heard,
                )
            )
    return pairs


def _pairs(evidence: Evidence) -> Iterator[Finding]:
    pairs = _all_pairs(evidence)
    silent = [pair for pair in pairs if pair.silent]
    yield from _silent(silent, pairs, evidence)
    for pair in pairs:
        if not pair.silent:
            yield from _partial(pair, evidence)


def _silent(silent: list[_Pair], pairs: list[_Pair], evidence: Evidence) -> Iterator[Finding]:
    """Nodes that nobody reaches are named once; what is left, by pairs."""
    ends = {pair.ends for pair in silent}
    cut_off: set[str] = set()
    for node in evidence.nodes:
        mine = {pair.ends for pair in pairs if node.node_id in pair.ends}
        others = {end for pair in mine for end in pair} - {node.node_id}
        rest_works = any(p.ends not in ends for p in pairs if node.node_id not in p.ends)
        if len(others) > 1 and mine <= ends and rest_works:
            cut_off.add(node.node_id)
            yield _cut_off(node, [pair for pair in silent if node.node_id in pair.ends], evidence)
    told: set[frozenset[str]] = set()
    for pair in silent:
        both = frozenset(pair.ends)
        if both & cut_off or both in told:
            continue
        mutual = pair.ends[::-1] in ends
        if mutual:
            told.add(both)
        yield _blocked(pair, mutual, evidence)


def _cut_off(node: CheckedNode, pairs: list[_Pair], evidence: Evidence) -> Finding:
    outward = [pair for pair in pairs if pair.a is node]
    drops = _drops(node)
    if drops:
        cause = f"a rule on it drops UDP port {evidence.port}: {drops[0]}"
        kind = FindingKind.FIREWALL
    elif not any(pair.path.passed for pair in pairs):
        cause = f"nor do pings between {node.vtep} and the other hosts: the host is not reachable for them"
        kind = FindingKind.UNREACHABLE
    else:
        way = "to and from"
        if outward and all(pair.arrived for pair in outward):
            way = "to"
        elif outward and all(not pair.arrived for pair in outward) and all(p.answers for p in outward):
            way = "from"
        cause = f"UDP port {evidence.port} is blocked {way} {node.vtep}"
        kind = FindingKind.BLOCKED
    return Finding(
        kind=kind,
        nodes=(node.node_id, *sorted({end for pair in pairs for end in pair.ends} - {node.node_id})),
        text=f"{node.name}: nothing passes between it and any other node: {cause}",
        hint="" if kind is FindingKind.FIREWALL else _port_hint(evidence),
    )


def _blocked(pair: _Pair, mutual: bool, evidence: Evidence) -> Finding:
    arrow = "<->" if mutual else "->"
    label = f"{pair.a.name} {arrow} {pair.b.name}"
    hint = "remove the rule, or accept the other hosts before it"
    if rules := [(node, rule) for node in (pair.b, pair.a) for rule in _drops(node)]:
        node, rule = rules[0]
        kind, text = (
            FindingKind.FIREWALL,
            f"nothing arrives: a rule on {node.name} drops UDP port {evidence.port}: {rule}",
        )
    elif pair.path.mtu and not pair.path.passed:
        kind = FindingKind.UNREACHABLE
        text = f"nothing arrives, and {pair.b.vtep} does not answer pings from {pair.a.vtep} either"
        hint = f"see that the hosts reach each other, and that {_port_hint(evidence)}"
    else:
        kind = FindingKind.BLOCKED
        hint = _port_hint(evidence)
        source, target = pair.a.vtep, pair.b.vtep
        if pair.arrived and not pair.answers:
            text = f"probes arrive, answers do not: UDP port {evidence.port} is blocked from {target} to {source}"
        elif pair.answers and not pair.arrived:
            text = f"nothing arrives: UDP port {evidence.port} is blocked from {source} to {target}"
        else:
            text = f"nothing arrives: UDP port {evidence.port} is blocked between {source} and {target}"
    return Finding(kind=kind, nodes=pair.ends, text=f"{label}: {text}", hint=hint)


def _port_hint(evidence: Evidence) -> str:
    return f"let UDP port {evidence.port} pass between all hosts, in firewalls and security groups"


def _partial(pair: _Pair, evidence: Evidence) -> Iterator[Finding]:
    if DAMAGED in (*pair.small, *pair.large):
        yield _finding(
            FindingKind.OFFLOAD,
            pair,
            "contents arrive damaged: checksums are not made or not checked (offload)",
            _OFFLOAD.format(device=_device(pair.a), feature="tx-checksum-ip-generic"),
        )
        return
    if all(outcome is UNTESTED for outcome in pair.small):
        yield _finding(FindingKind.UNTESTED, pair, "was not tested in time", "make the check again")
        return
    if _kept_off(pair, evidence):
        return
    # Pings alone that are lost are some administrator's wish, and keep nobody from anything.
    if any(outcome not in (OK, UNTESTED) for outcome in pair.small[1:]):
        yield _small(pair, evidence)
    if any(outcome not in (OK, UNTESTED) for outcome in pair.large):
        yield _large(pair)


def _small(pair: _Pair, evidence: Evidence) -> Finding:
    """Some kinds of small packets pass, others do not."""
    named = dict(zip(("pings", "UDP", "TCP"), pair.small, strict=True))
    passes = " and ".join(name for name, outcome in named.items() if outcome is OK)
    fails = " and ".join(name for name, outcome in named.items() if outcome not in (OK, UNTESTED))
    singular = fails in ("UDP", "TCP")
    text = f"{fails} {'is' if singular else 'are'} refused"
    if passes:
        text = f"{passes} pass{'es' if passes in ('UDP', 'TCP') else ''}, {fails} {'does' if singular else 'do'} not"
    refused = REFUSED in (pair.result.udp, pair.result.tcp)
    if evidence.host or refused or pair.result.ping is LOST:
        where = pair.b.name if evidence.host or refused else "one of the containers"
        return _finding(
            FindingKind.FIREWALL,
            pair,
            f"{text}: a firewall on {where} keeps them off",
            "let the host accept what comes from the ingress network (device vxi)" if evidence.host else "",
        )
    return _finding(
        FindingKind.OFFLOAD,
        pair,
        f"{text}: their checksums are wrong (checksum offload of {_device(pair.a)} or {_device(pair.b)})",
        _OFFLOAD.format(device=_device(pair.a), feature="tx-checksum-ip-generic"),
    )


def _large(pair: _Pair) -> Finding:
    """Small packets pass, large ones do not."""
    result, path = pair.result, pair.path
    mtu_a, mtu_b = _facts(pair.a).mtu, _facts(pair.b).mtu
    overhead = OVERHEAD[ip_address(pair.b.vtep).version] if pair.b.vtep else OVERHEAD[4]
    needs = (result.mtu or mtu_a) + overhead
    if path.passed and path.passed < needs:
        return _finding(
            FindingKind.MTU,
            pair,
            f"small packets pass, large do not: MTU: {pair.a.vtep} to {pair.b.vtep} carries packets of "
            f"{path.passed} bytes, the overlay needs {needs}",
            _MTU_HINT.format(mtu=path.passed - overhead),
        )
    if result.large_udp in (OK, UNTESTED) and result.large_tcp is not OK:
        return _finding(
            FindingKind.OFFLOAD,
            pair,
            "full datagrams pass, large TCP does not: segmentation is wrong (offload)",
            _OFFLOAD.format(device=_device(pair.a), feature="tx-udp_tnl-segmentation"),
        )
    if mtu_a and mtu_b and mtu_a != mtu_b:
        return _finding(
            FindingKind.MTU,
            pair,
            f"small packets pass, large do not: the overlay's MTU is {mtu_a} on {pair.a.name} "
            f"and {mtu_b} on {pair.b.name}",
            _MTU_HINT.format(mtu=min(mtu_a, mtu_b)),
        )
    return _finding(
        FindingKind.MTU,
        pair,
        f"small packets pass, those of {result.mtu or 'full'} bytes do not: MTU between "
        f"{pair.a.vtep} and {pair.b.vtep}",
        _MTU_HINT.format(mtu=1400 - overhead),
    )


def _finding(kind: FindingKind, pair: _Pair, text: str, hint: str = "") -> Finding:
    where = f" ({pair.result.address})" if len(pair.b.addresses) > 1 else ""
    return Finding(kind=kind, nodes=pair.ends, text=f"{pair.label}{where}: {text}", hint=hint)


# -- what single hosts say ---------------------------------------------------------------------------
def _facts(node: CheckedNode) -> HostFacts:
    return node.report.facts if node.report is not None else HostFacts()


def _drops(node: CheckedNode) -> tuple[str, ...]:
    return _facts(node).drops


def _device(node: CheckedNode) -> str:
    return _facts(node).device or "its device"


def _stale(evidence: Evidence) -> Iterator[Finding]:
    for node, report in _reports(evidence):
        if report.repairs:
            entries = "entry was" if report.repairs == 1 else "entries were"
            yield Finding(
                kind=FindingKind.STALE,
                nodes=(node.node_id,),
                text=f"{report.repairs} stale {entries} found and repaired on {node.name}",
                hint="something else changes pyswarm's devices or rules there; its daemon's log names them",
            )
