"""What the doctor tries."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from netoverlay.features import Feature, features
from netoverlay.netns import Namespaces
from pyswarmd.doctor import descriptors, diagnose, legacy_firewalls, of_feature
from tests.netoverlay.hosts import unique


@pytest.mark.root
def test_everything_that_overlays_need_is_tried_and_nothing_is_left(tmp_path: Path) -> None:
    found = {feature.name: feature for feature in features(tmp_path / "try")}
    assert {
        "veth",
        "bridge",
        "vxlan",
        "nftables",
        "nftables for bridges",
        "ESP",
        "macvlan",
        "SCTP",
        "IPv6",
    } <= found.keys()
    assert [feature.name for feature in found.values() if feature.needed and feature.missing] == []
    assert list((tmp_path / "try").iterdir()) == []


@pytest.mark.root
def test_the_doctor_sums_up_tools_ports_and_kernel(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in diagnose(tmp_path)}
    assert {"tools", "cgroups", "port 2377/tcp", "port 4789/udp", "vxlan"} <= found.keys()
    assert [name for name, finding in found.items() if finding.state == "missing"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.root
@pytest.mark.skipif(shutil.which("iptables-legacy") is None, reason="the old iptables is not installed")
def test_a_legacy_firewall_is_named_where_it_is_in_use(namespaces: Namespaces) -> None:
    """The kernel may lack it, then it cannot be in anybody's way."""
    host = namespaces.create(unique("legacy"))

    def policy(wanted: str) -> bool:
        words = ["iptables-legacy", "-w", "-P", "FORWARD", wanted]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    assert host.run(lambda: list(legacy_firewalls())) == []
    if not host.run(lambda: policy("ACCEPT")):
        pytest.skip("this kernel has no legacy iptables")
    (found,) = host.run(lambda: list(legacy_firewalls()))
    assert (found.name, found.state) == ("iptables-legacy", "in use")
    host.run(lambda: policy("DROP"))
    (found,) = host.run(lambda: list(legacy_firewalls()))
    assert (found.name, found.state) == ("iptables-legacy", "missing")
    assert "iptables-legacy -P FORWARD ACCEPT" in found.detail


def test_what_is_needed_and_not_there_is_missing_what_is_not_needed_is_absent() -> None:
    lacking = Feature(name="vxlan", purpose="p", needed=True, missing="no such device", hint="load it")
    assert (of_feature(lacking).state, of_feature(lacking).detail) == ("missing", "no such device: load it")
    optional = Feature(name="ipvlan", purpose="p", needed=False, missing="no such device", hint="load it")
    assert of_feature(optional).state == "absent"
    assert of_feature(Feature(name="veth", purpose="p", needed=True)).state == "ok"


def test_the_doctor_says_how_many_containers_there_are_descriptors_for(tmp_path: Path) -> None:
    started_here = descriptors(tmp_path / "daemon.pid")
    assert (started_here.name, started_here.state) == ("file descriptors", "ok")
    assert "a daemon started here may have" in started_here.detail
    (tmp_path / "daemon.pid").write_text(str(os.getpid()))
    running = descriptors(tmp_path / "daemon.pid")
    assert running.detail.startswith("the daemon uses ")
    (tmp_path / "daemon.pid").write_text("garbage")
    assert descriptors(tmp_path / "daemon.pid") == started_here
