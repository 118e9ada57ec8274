"""`pyswarm network check` of a real swarm: nothing is found where nothing is wrong, and a blockade is named."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]


def texts(report: Any) -> list[str]:
    return [finding["Text"] for finding in report["Findings"]]


def nft(swarm: Swarm, host: str, *words: str) -> None:
    namespace = swarm.lab.network.path(host)
    subprocess.run(["nsenter", f"--net={namespace}", "nft", *words], check=True)


async def test_a_healthy_swarm_has_no_faults_between_hosts_or_containers(swarm: Swarm) -> None:
    await swarm.network("shop")
    await swarm.publish("api", 5, "shop")
    await swarm.until_running("api", 5)
    nodes = len(await swarm.get("m1", "/nodes"))
    for manager in ("m1", "m2"):
        for path in ("/networks/check", "/networks/shop/check"):
            report = await swarm.post(manager, path)
            assert texts(report) == []
            assert len(report["Pairs"]) >= nodes * (nodes - 1)
            assert {pair["LargeTCP"] for pair in report["Pairs"]} == {"ok"}


async def test_a_host_whose_firewall_drops_overlay_traffic_is_named(swarm: Swarm) -> None:
    nft(swarm, "w1", "add table inet corp")
    try:
        nft(swarm, "w1", "add chain inet corp in { type filter hook input priority 0; }")
        nft(swarm, "w1", "add rule inet corp in udp dport 4789 drop")
        code, printed, _ = await swarm.cli("m1", "network", "check")
        assert code == 1
        (line,) = [line for line in printed.splitlines() if line.startswith("FAULT")]
        assert line.startswith("FAULT  w1: nothing passes between it and any other node")
        assert "a rule on it drops UDP port 4789: corp in: udp dport 4789 drop" in line
    finally:
        nft(swarm, "w1", "delete table inet corp")
    code, printed, _ = await swarm.cli("m1", "network", "check")
    assert (code, "no fault found" in printed) == (0, True)
