"""`pyswarm network check`: a table of every pair of nodes, and what is wrong in words."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pyswarmd.cli import render
from pyswarmd.client import EngineClient, at

COLUMNS = ("FROM", "TO", "ADDRESS", "PING", "UDP", "TCP", "LARGE UDP", "LARGE TCP", "PATH MTU")
SERVICE_COLUMNS = ("FROM", "NAME", "RESULT")
_UNTESTED = "-"
_PROBES = ("Ping", "UDP", "TCP", "LargeUDP", "LargeTCP")
_WORKS = ("ok", "refused")  # a refusal of a service's address was an answer
FEW = 10  # nodes whose pairs are all shown


def add(group: Any) -> None:
    check = group.add_parser("check", help="test a network between all its nodes, and say what is wrong")
    check.add_argument("--format", choices=("table", "json"), default="table")
    check.add_argument("-a", "--all", action="store_true", help="all pairs and names, however many")
    check.add_argument("network", nargs="?", metavar="NETWORK", help="without it: between the hosts")
    check.set_defaults(run=run)


async def run(client: EngineClient, options: argparse.Namespace) -> int:
    """The exit code: 1 if anything is wrong."""
    path = at("networks", options.network, "check") if options.network is not None else "/networks/check"
    report = await client.post(path)
    if options.format == "json":
        render.out(json.dumps(report, indent=4))
    else:
        show(report, everything=options.all)
    return 0 if report["Healthy"] else 1


def show(report: Mapping[str, Any], *, everything: bool = False) -> None:
    names = {node["NodeID"]: str(node["Hostname"]) for node in report["Nodes"]}
    pairs = list(_pairs(report, names))
    bad = [row for row, works in pairs if not works]
    rows = [row for row, _ in pairs] if everything or len(names) <= FEW else bad
    if rows:
        render.table(rows, COLUMNS)
        render.out()
    if failures := list(_services(report, names, everything=everything)):
        render.table(failures, SERVICE_COLUMNS)
        render.out()
    for finding in report["Findings"]:
        render.out(f"FAULT  {finding['Text']}")
        if finding["Hint"]:
            render.out(f"       {finding['Hint']}")
    for remark in report["Remarks"]:
        render.out(f"note   {remark}")
    good = len(pairs) - len(bad)
    tested = f"{report['Network']}: {good} of {len(pairs)} pairs work, {_asked(report)}"
    verdict = "no fault found" if report["Healthy"] else f"{len(report['Findings'])} found wrong"
    render.out(f"{tested}, {verdict} ({report['Seconds']:.1f} s)")


def _pairs(report: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[dict[str, str], bool]]:
    for pair in report["Pairs"]:
        said = {key: str(pair[key]) for key in _PROBES}
        yield (
            {
                "FROM": names.get(pair["From"], pair["From"]),
                "TO": names.get(pair["To"], pair["To"]),
                "ADDRESS": pair["Address"],
                "PING": _short(said["Ping"]),
                "UDP": _short(said["UDP"]),
                "TCP": _short(said["TCP"]),
                "LARGE UDP": _short(said["LargeUDP"]),
                "LARGE TCP": _short(said["LargeTCP"]),
                "PATH MTU": str(pair["PathMTU"] or _UNTESTED),
            },
            _works([outcome for probe, outcome in said.items() if probe != "Ping"]),
        )


def _works(outcomes: Collection[str]) -> bool:
    """Lost pings are no fault by themselves."""
    return "ok" in outcomes and set(outcomes) <= {"ok", "untested"}


def _short(outcome: str) -> str:
    return _UNTESTED if outcome == "untested" else outcome


def _services(
    report: Mapping[str, Any], names: Mapping[str, str], *, everything: bool
) -> Iterator[dict[str, str]]:
    """Names and virtual addresses that failed, or all of them."""
    for name in report["Names"]:
        if everything or name["Outcome"] != "ok":
            result = ", ".join(name["Addresses"]) if name["Outcome"] == "ok" else name["Outcome"]
            yield {"FROM": names.get(name["NodeID"], ""), "NAME": name["Name"], "RESULT": result or "nothing"}
    for service in report["Services"]:
        if everything or service["Outcome"] not in _WORKS:
            at = f"{service['VirtualIP']} ({service['Name']})"
            yield {"FROM": names.get(service["NodeID"], ""), "NAME": at, "RESULT": service["Outcome"]}


def _asked(report: Mapping[str, Any]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for name in report["Names"]:
        counts["names"] += name["Outcome"] == "ok"
    for service in report["Services"]:
        counts["addresses"] += service["Outcome"] in _WORKS
    return (
        f"{counts['names']} of {len(report['Names'])} lookups are answered, "
        f"{counts['addresses']} of {len(report['Services'])} virtual addresses answer"
    )
