"""What an overlay's namespace shall have, as a value."""

from __future__ import annotations

import pytest

from netoverlay.overlays.links import layout, overlay_mtu
from swarmcore.model.overlay import OverlayNetwork, OverlaySubnet

SUBNETS = (
    OverlaySubnet(subnet="10.0.1.0/24", gateway="10.0.1.1", vni=7),
    OverlaySubnet(subnet="fd00:1::/64", gateway="fd00:1::1", vni=7),
    OverlaySubnet(subnet="10.0.2.0/24", gateway="", vni=8),
)
NETWORK = OverlayNetwork(id="n1", name="lan", subnets=SUBNETS)


def test_each_vni_has_one_device_and_each_gateway_its_prefix() -> None:
    found = layout(NETWORK, "w1", "192.0.2.1", 1500)
    assert found.vnis == (7, 8)
    assert found.gateways == ("10.0.1.1/24", "fd00:1::1/64")
    assert (found.local, found.mtu) == ("192.0.2.1", 1450)


def test_bridges_of_two_hosts_have_different_hardware_addresses() -> None:
    one, two = (layout(NETWORK, node, "192.0.2.1", 1500).mac for node in ("w1", "w2"))
    assert one != two
    assert one == layout(NETWORK, "w1", "192.0.2.9", 9000).mac


@pytest.mark.parametrize(
    ("vtep", "encrypted", "mtu"),
    [
        ("192.0.2.1", False, 1450),
        ("fd00::1", False, 1430),
        ("192.0.2.1", True, 1416),
        ("fd00::1", True, 1396),
    ],
)
def test_a_packet_of_the_overlay_fits_into_one_of_the_underlay(vtep: str, encrypted: bool, mtu: int) -> None:
    network = OverlayNetwork(id="n1", name="lan", subnets=SUBNETS, encrypted=encrypted)
    assert overlay_mtu(network, vtep, 1500) == mtu
