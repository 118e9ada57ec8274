"""What the lookups and virtual addresses of a network check mean. Pure; a part of `manager.checks.diagnosis`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from swarmcore.rpc.messages.check import (
    CheckedNode,
    Finding,
    FindingKind,
    NameResult,
    Outcome,
    ProbeReport,
)


def name_findings(
    node: CheckedNode, report: ProbeReport, expected: Mapping[str, tuple[frozenset[str], ...]]
) -> Iterator[Finding]:
    """`expected` gives for every name the answers that are right."""
    asked = [result for result in report.names if result.name in expected]
    dumb = [result for result in asked if result.outcome not in (Outcome.OK, Outcome.UNTESTED)]
    if dumb and len(dumb) == len([r for r in asked if r.outcome is not Outcome.UNTESTED]):
        yield Finding(
            kind=FindingKind.NAMES,
            nodes=(node.node_id,),
            text=f"names do not resolve on {node.name}: 127.0.0.11 does not answer",
            hint="see that its daemon runs",
        )
    elif dumb:
        yield Finding(
            kind=FindingKind.NAMES,
            nodes=(node.node_id,),
            text=f"no answer for {_list(r.name for r in dumb)} on {node.name}",
        )
    if late := [result.name for result in asked if result.outcome is Outcome.UNTESTED]:
        yield Finding(
            kind=FindingKind.UNTESTED,
            nodes=(node.node_id,),
            text=f"{_list(late)} could not be looked up in time on {node.name}",
            hint="make the check again",
        )
    for result in asked:
        if result.outcome is Outcome.OK and not _right(result, expected[result.name]):
            yield _wrong(node, result, expected[result.name][-1])


def _right(result: NameResult, answers: tuple[frozenset[str], ...]) -> bool:
    got = frozenset(result.addresses)
    return any(got == answer or (result.partial and got < answer) for answer in answers)


def _wrong(node: CheckedNode, result: NameResult, expected: frozenset[str]) -> Finding:
    got = _list(result.addresses) or "nothing"
    stale = set(result.addresses) - expected
    return Finding(
        kind=FindingKind.STALE if stale else FindingKind.NAMES,
        nodes=(node.node_id,),
        text=f"{result.name} resolves to {got} on {node.name}, not to {_list(expected) or 'nothing'}",
        hint="its daemon is behind the managers: see its log",
    )


def service_findings(node: CheckedNode, report: ProbeReport) -> Iterator[Finding]:
    for result in report.services:
        if result.outcome in (Outcome.OK, Outcome.REFUSED):
            continue
        if result.outcome is Outcome.UNTESTED:
            kind, text = FindingKind.UNTESTED, f"could not be tested from {node.name} in time"
        else:
            kind, text = FindingKind.VIP, f"does not answer from {node.name}"
        yield Finding(
            kind=kind,
            nodes=(node.node_id,),
            text=f"the virtual address {result.vip} of {result.name} {text}",
            hint="if a pair of nodes is named above, mend that first" if kind is FindingKind.VIP else "",
        )


def _list(words: Iterable[str]) -> str:
    shown = sorted(words)
    rest = len(shown) - 5
    return ", ".join(shown[:5]) + (f" and {rest} more" if rest > 0 else "")
