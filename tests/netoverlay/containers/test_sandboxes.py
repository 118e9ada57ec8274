"""Specs of sandboxes as values."""

from __future__ import annotations

from netoverlay.containers.sandboxes import Join, SandboxSpec


def join(network_id: str, mac: str) -> Join:
    return Join(network_id=network_id, interface="eth0", mac=mac, addresses=("10.0.0.2/24",))


def test_a_network_is_left_only_by_the_interface_that_is_meant() -> None:
    one, two = join("n1", "02:00:00:00:00:01"), join("n2", "02:00:00:00:00:02")
    spec = SandboxSpec(id="c1", task_id="t1", joins=(one, two))
    assert spec.without("n1", one.mac).joins == (two,)
    assert spec.without("n1", two.mac) == spec
