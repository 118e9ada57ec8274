"""What `pyswarm update` sends: the swarm's whole spec, with what was asked for changed."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli.main import build
from pyswarmd.cli.swarm_update import changed
from swarmcore.errors import Invalid
from tests.fakes.engine import engine

SPEC = {
    "Name": "default",
    "Labels": {"own": "kept"},
    "Orchestration": {"TaskHistoryRetentionLimit": 5},
    "Raft": {"SnapshotInterval": 10000, "ElectionTick": 10},
}


def sent(*words: str) -> dict[str, Any]:
    return changed(SPEC, build().parse_args(["update", *words]))


@pytest.mark.parametrize(
    ("words", "part", "value"),
    [
        (("--max-replicas", "7"), "Labels", {"own": "kept", "pyswarm.max-replicas": "7"}),
        (("--task-history-limit", "0"), "Orchestration", {"TaskHistoryRetentionLimit": 0}),
        (("--snapshot-interval", "500"), "Raft", {"SnapshotInterval": 500, "ElectionTick": 10}),
        (("--dispatcher-heartbeat", "2s"), "Dispatcher", {"HeartbeatPeriod": 2 * 10**9}),
        (("--cert-expiry", "48h"), "CAConfig", {"NodeCertExpiry": 48 * 3600 * 10**9}),
    ],
)
def test_one_setting_changes_and_all_others_stay(
    words: tuple[str, ...], part: str, value: dict[str, Any]
) -> None:
    assert sent(*words) == {**SPEC, part: value}


async def test_no_setting_at_all_is_refused() -> None:
    options = build().parse_args(["update"])
    async with engine({"GET /swarm": {"Spec": SPEC, "Version": {"Index": 3}}}) as (_, client):
        with pytest.raises(Invalid, match="nothing to change"):
            await options.run(client, options)
