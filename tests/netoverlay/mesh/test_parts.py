"""The parts of the table `pyswarm-mesh`, as values: no kernel is asked."""

from __future__ import annotations

from netoverlay.mesh.parts import MeshParts
from netoverlay.mesh.ports import ports
from tests.netoverlay.mesh.tables import endpoint, table


def test_parts_of_services_that_did_not_change_are_the_same_objects() -> None:
    parts = MeshParts()
    before = parts(ports(table(endpoint(21, 1)), "n1"), ())
    same = parts(ports(table(endpoint(21, 1)), "n1"), ())
    assert all(one is other for one, other in zip(before, same, strict=True))
    changed = parts(ports(table(endpoint(21, 1), endpoint(22, 2)), "n1"), ())
    assert [one is other for one, other in zip(before, changed, strict=True)].count(False) == 2
