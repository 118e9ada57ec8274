"""Which names a lab and its hosts may have, and what belongs to which lab."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyswarmd.lab import network
from pyswarmd.lab.lab import Lab
from pyswarmd.lab.network import LabNetwork
from swarmcore.errors import Invalid, NotFound

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a Lab is made by root only")


@pytest.mark.parametrize("name", ["", "Lab", "1lab", "my_lab", "../x", "a b", "x" * 32])
def test_a_lab_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(Invalid, match="invalid lab name"):
        Lab(name)


@needs_root
@pytest.mark.parametrize(
    ("host", "address"),
    [("m1", "10.77.0.11"), ("m9", "10.77.0.19"), ("w1", "10.77.0.101"), ("w99", "10.77.0.199")],
)
def test_a_host_s_address_follows_from_its_name(host: str, address: str, tmp_path: Path) -> None:
    assert Lab("names", tmp_path).host(host).address == address


@needs_root
def test_no_two_hosts_of_a_full_lab_share_an_address(tmp_path: Path) -> None:
    lab = Lab("names", tmp_path)
    names = [f"m{n}" for n in range(1, 10)] + [f"w{n}" for n in range(1, 100)]
    assert len({lab.host(name).address for name in names}) == len(names)


@needs_root
@pytest.mark.parametrize("host", ["", "m0", "m01", "x1", "m", "m1/../w1", "w100"])
def test_other_host_names_are_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no lab host"):
        Lab("names", tmp_path).host(host)


@needs_root
@pytest.mark.parametrize(("managers", "workers"), [(0, 2), (10, 0), (1, -1), (1, 100)])
async def test_a_lab_of_impossible_size_is_refused_before_anything_is_made(
    managers: int, workers: int, tmp_path: Path
) -> None:
    lab = Lab("names", tmp_path)
    with pytest.raises(Invalid, match="1 to 9 managers"):
        await lab.up(managers, workers)
    assert lab.hosts() == []
    assert list(tmp_path.iterdir()) == []


def test_a_lab_owns_only_the_namespaces_of_its_whole_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "NETNS_DIR", tmp_path)
    for name in ("one-m1", "one-w12", "one-sw", "one-two-m1", "one-two-sw", "one-mx", "other"):
        (tmp_path / name).touch()
    assert LabNetwork("one").namespaces() == ["one-m1", "one-w12", "one-sw"]
    assert LabNetwork("one-two").namespaces() == ["one-two-m1", "one-two-sw"]
