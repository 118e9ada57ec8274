"""The wires of containers that have just ended: no damage for anybody to mend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netoverlay.mesh.hosts import World, worlds

pytestmark = pytest.mark.root


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path)


def test_a_wire_that_goes_with_its_namespace_is_no_damage_unless_it_stays(world: World) -> None:
    host = world.hosts[0]
    box = host.box("b1", 21)
    world.publish(box)
    device = box.way.device
    wires = host.rules._gateways
    wires.reconcile()
    assert wires.reconcile() == 0
    box.end()
    host.rules.disconnect(box.spec.id)  # its namespace is still there, as while the kernel takes it down
    assert wires.reconcile() == 0
    assert host.home.route.link(device) is not None
    wires.reconcile()
    assert host.home.route.link(device) is None
