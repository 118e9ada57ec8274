"""What the sets of `pyswarm-mesh` have in them."""

from __future__ import annotations

from netoverlay.mesh.parts import MeshParts
from netoverlay.mesh.ports import Way, ports
from netoverlay.nft.table import merged


def test_a_closed_container_is_named_and_an_open_one_is_not() -> None:
    ways = (Way(device="gv1", open=False), Way(device="gv2"))
    found = merged(MeshParts()(ports(None, "n1"), ways)).elements["closed"]
    assert [key.rstrip(b"\0") for key in found] == [b"gv1"]
