"""The frame of the table `pyswarm-mesh`, as a value: no kernel is asked."""

from __future__ import annotations

from netoverlay.mesh.rules import frame


def test_both_families_have_the_same_sets() -> None:
    four, six = (
        {name.removesuffix(version) for name in frame().sets if name.endswith(version)} for version in "46"
    )
    assert four == six != set()


def test_what_the_frame_decides_goes_to_a_chain_or_an_end() -> None:
    """`own` and the chain of the unserved differ from host to host: they are in other parts."""
    assert "refuse" in frame().chains
    assert "own" not in frame().chains
    assert frame() is frame()
