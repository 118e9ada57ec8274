"""What the doctor tries."""

from __future__ import annotations

from pathlib import Path

import pytest

from netoverlay.features import Feature, features
from pyswarmd.doctor import diagnose, of_feature


@pytest.mark.root
def test_everything_that_overlays_need_is_tried_and_nothing_is_left(tmp_path: Path) -> None:
    found = {feature.name: feature for feature in features(tmp_path / "try")}
    assert {"veth", "bridge", "vxlan", "nftables", "ESP", "macvlan", "SCTP", "IPv6"} <= found.keys()
    assert [feature.name for feature in found.values() if feature.needed and feature.missing] == []
    assert list((tmp_path / "try").iterdir()) == []


@pytest.mark.root
def test_the_doctor_sums_up_tools_ports_and_kernel(tmp_path: Path) -> None:
    found = {finding.name: finding for finding in diagnose(tmp_path)}
    assert {"tools", "cgroups", "port 2377/tcp", "port 4789/udp", "vxlan"} <= found.keys()
    assert [name for name, finding in found.items() if finding.state == "missing"] == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_needed_and_not_there_is_missing_what_is_not_needed_is_absent() -> None:
    lacking = Feature(name="vxlan", purpose="p", needed=True, missing="no such device", hint="load it")
    assert (of_feature(lacking).state, of_feature(lacking).detail) == ("missing", "no such device: load it")
    optional = Feature(name="ipvlan", purpose="p", needed=False, missing="no such device", hint="load it")
    assert of_feature(optional).state == "absent"
    assert of_feature(Feature(name="veth", purpose="p", needed=True)).state == "ok"
