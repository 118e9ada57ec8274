"""`pyswarm node …` against canned answers."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli.main import build
from tests.fakes.engine import InTurn, engine

INFO = {"Swarm": {"NodeID": "n1"}}


def node(node_id: str, **status: str) -> dict[str, Any]:
    return {
        "ID": node_id,
        "Version": {"Index": 7},
        "Spec": {"Role": "worker", "Availability": "active"},
        "Description": {"Hostname": f"host-{node_id}", "Engine": {"EngineVersion": "1"}},
        "Status": {"State": "ready", **status},
    }


async def test_what_is_wrong_on_a_node_is_told_beside_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [node("n1"), node("n2", Message="task database: disk is full")]
    async with engine({"GET /nodes": nodes, "GET /info": INFO}) as (_, client):
        options = build().parse_args(["node", "ls"])
        await options.run(client, options)
    told = capsys.readouterr()
    assert "disk is full" not in told.out and "host-n2" in told.out
    assert told.err == "host-n2: task database: disk is full\n"


def manager(node_id: str) -> dict[str, Any]:
    made = node(node_id)
    return made | {"Spec": made["Spec"] | {"Role": "manager"}, "ManagerStatus": {"Leader": True}}


def swarm(*, manages: bool) -> dict[str, Any]:
    return {"Swarm": {"NodeID": "n1", "ControlAvailable": manages}}


async def test_a_node_that_demotes_itself_waits_until_it_is_a_worker(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its API ends with the change: it exited 1 though it had worked."""
    answers = {
        "GET /info": InTurn(*[swarm(manages=True)] * 4, swarm(manages=False)),
        "GET /nodes/n1": manager("n1"),
        "GET /nodes": 503,
        "POST /nodes/n1/update": {},
    }
    async with engine(answers) as (fake, client):
        options = build().parse_args(["node", "demote", "self"])
        assert not await options.run(client, options)
    assert capsys.readouterr().out == "Node self demoted in the swarm.\n"
    assert fake.bodies("POST /nodes/n1/update")[0]["Role"] == "worker"


async def test_this_node_is_demoted_last() -> None:
    answers = {
        "GET /info": InTurn(*[swarm(manages=True)] * 3, swarm(manages=False)),
        "GET /nodes/n1": manager("n1"),
        "GET /nodes/n2": manager("n2"),
        "GET /nodes": InTurn(503, [node("n2")]),
        "POST /nodes/n1/update": {},
        "POST /nodes/n2/update": {},
    }
    async with engine(answers) as (fake, client):
        options = build().parse_args(["node", "demote", "self", "n2"])
        assert not await options.run(client, options)
    changed = [asked for asked, _, _ in fake.asked if asked.startswith("POST")]
    assert changed == ["POST /nodes/n2/update", "POST /nodes/n1/update"]
