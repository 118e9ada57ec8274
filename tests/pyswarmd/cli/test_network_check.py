"""`pyswarm network check`: the answer of the API as a table and as words, and the exit code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from pyswarmd.cli.main import build
from pyswarmd.engine.swarm.network_check import shown
from swarmcore.rpc.messages.check import (
    CheckedNode,
    Finding,
    FindingKind,
    HostFacts,
    NameResult,
    NetworkReport,
    Outcome,
    PairResult,
    PathResult,
    ProbeReport,
    ServiceResult,
)
from tests.fakes.engine import FakeEngine, engine

GOOD = PairResult(
    node_id="n2",
    address="10.1.0.12",
    ping=Outcome.OK,
    udp=Outcome.OK,
    tcp=Outcome.OK,
    large_udp=Outcome.OK,
    large_tcp=Outcome.OK,
    mtu=1450,
)
BAD = replace(GOOD, node_id="n1", address="10.1.0.11", large_udp=Outcome.LOST, large_tcp=Outcome.UNTESTED)


def node(number: int, *pairs: PairResult) -> CheckedNode:
    report = ProbeReport(
        check_id="c",
        pairs=pairs,
        paths=tuple(PathResult(node_id=pair.node_id, mtu=1500, passed=1400) for pair in pairs),
        names=(
            NameResult(name="api.shop", outcome=Outcome.OK, addresses=("10.1.0.2",)),
            NameResult(name="web.shop", outcome=Outcome.LOST),
        ),
        services=(ServiceResult(name="api", vip="10.1.0.2", port=80, outcome=Outcome.REFUSED),),
        repairs=3,
        facts=HostFacts(device="eth0", device_mtu=1500, mtu=1450),
    )
    return CheckedNode(node_id=f"n{number}", name=f"w{number}", vtep=f"10.0.0.{number}", report=report)


FAULT = Finding(
    kind=FindingKind.MTU,
    nodes=("n2", "n1"),
    text="w2 -> w1: small packets pass, large do not",
    hint="mend it",
)
HEALTHY = NetworkReport(network="shop", nodes=(node(1, GOOD),), seconds=0.25)
BROKEN = NetworkReport(
    network="shop",
    nodes=(node(1, GOOD), node(2, BAD), CheckedNode(node_id="n3", name="w3", problem="it did not answer")),
    findings=(FAULT,),
    remarks=("w4 is down: not tested",),
    seconds=2.5,
)


async def run(report: NetworkReport, *words: str) -> tuple[int, FakeEngine]:
    options = build().parse_args(["network", "check", *words])
    answers: dict[str, Any] = {
        "POST /networks/check": shown(report),
        "POST /networks/shop/check": shown(report),
    }
    async with engine(answers) as (fake, client):
        return int(await options.run(client, options) or 0), fake


async def test_a_healthy_network_is_told_in_a_table_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    code, fake = await run(replace(HEALTHY, findings=()), "shop")
    assert (code, [asked for asked, *_ in fake.asked]) == (0, ["POST /networks/shop/check"])
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(lines[0].split()) == "FROM TO ADDRESS PING UDP TCP LARGE UDP LARGE TCP PATH MTU"
    assert lines[1].split() == ["w1", "n2", "10.1.0.12", "ok", "ok", "ok", "ok", "ok", "1400"]
    assert lines[-1] == (
        "shop: 1 of 1 pairs work, 1 of 2 lookups are answered, 1 of 1 virtual addresses answer, "
        "no fault found (0.2 s)"
    )


async def test_faults_are_told_with_what_to_do_and_make_the_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, fake = await run(BROKEN)
    assert (code, [asked for asked, *_ in fake.asked]) == (1, ["POST /networks/check"])
    text = capsys.readouterr().out
    assert "w2     w1   10.1.0.11   ok     ok    ok    lost        -           1400" in text
    assert "FAULT  w2 -> w1: small packets pass, large do not\n       mend it\n" in text
    assert "note   w4 is down: not tested\n" in text
    assert "w1     web.shop   lost\n" in text and "10.1.0.2" not in text
    assert text.endswith("1 found wrong (2.5 s)\n")


async def test_all_shows_names_and_addresses_that_work_too(capsys: pytest.CaptureFixture[str]) -> None:
    await run(BROKEN, "--all", "shop")
    text = capsys.readouterr().out
    assert "api.shop         10.1.0.2\n" in text
    assert "10.1.0.2 (api)   refused\n" in text


async def test_many_nodes_are_a_table_of_what_fails(capsys: pytest.CaptureFixture[str]) -> None:
    many = tuple(node(number, replace(GOOD, node_id=f"n{number + 1}")) for number in range(3, 14))
    await run(replace(BROKEN, nodes=(*many, node(2, BAD))), "shop")
    text = capsys.readouterr().out
    assert text.count("10.1.0.12") == 0 and text.count("10.1.0.11") == 1
    await run(replace(BROKEN, nodes=(*many, node(2, BAD))), "-a", "shop")
    assert capsys.readouterr().out.count("10.1.0.12") == 11


async def test_json_is_the_answer_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert (await run(BROKEN, "--format", "json"))[0] == 1
    found = json.loads(capsys.readouterr().out)
    assert found["Findings"] == [
        {"Kind": "mtu", "NodeIDs": ["n2", "n1"], "Text": FAULT.text, "Hint": "mend it"}
    ]
    assert found["Nodes"][0]["Repairs"] == 3 and found["Nodes"][2]["Problem"] == "it did not answer"
    assert (found["Healthy"], found["Pairs"][1]["LargeUDP"], found["Pairs"][1]["PathMTU"]) == (
        False,
        "lost",
        1400,
    )
