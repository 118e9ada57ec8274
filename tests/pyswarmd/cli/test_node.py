"""`pyswarm node …` against canned answers."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli.main import build
from tests.fakes.engine import engine

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
