"""A container's wire as a value: its name, and what else is on it."""

from __future__ import annotations

from netoverlay.containers.sandboxes import Join
from netoverlay.overlays.wires import routes_for, wire_name
from swarmcore.model.overlay import OverlayNetwork, OverlaySubnet

NETWORK = OverlayNetwork(
    id="n1",
    name="lan",
    subnets=(
        OverlaySubnet(subnet="10.0.1.0/24", gateway="10.0.1.1", vni=7),
        OverlaySubnet(subnet="10.0.2.0/24", gateway="10.0.2.1", vni=8),
        OverlaySubnet(subnet="fd00:1::/64", gateway="fd00:1::1", vni=7),
    ),
)


def join(*addresses: str) -> Join:
    return Join(network_id="n1", interface="eth0", mac="02:00:00:00:00:01", addresses=addresses)


def test_a_wires_name_fits_a_device_and_is_the_same_after_a_restart() -> None:
    assert wire_name("c" * 64) == wire_name("c" * 64) != wire_name("d" * 64)
    assert len(wire_name("c" * 64)) == 13


def test_other_subnets_of_the_network_are_on_the_same_wire() -> None:
    assert routes_for(NETWORK, join("10.0.1.5/24")) == ("10.0.2.0/24",)
    assert routes_for(NETWORK, join("10.0.2.5/24", "fd00:1::5/64")) == ("10.0.1.0/24",)
    assert routes_for(NETWORK, join("fd00:1::5/64")) == ()
