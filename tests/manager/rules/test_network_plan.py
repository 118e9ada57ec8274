"""Which VNIs and subnets a network gets."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from manager.rules.network_plan import FIRST_VNI, LAST_VNI, _free_vni


@given(st.integers(0, 300), st.integers(0, 2**32))
def test_a_chosen_vni_is_nobodys(crowd: int, seed: int) -> None:
    wished = Random(seed).randint(FIRST_VNI, LAST_VNI)
    taken = {vni for vni in range(wished, wished + crowd) if vni <= LAST_VNI}
    found = _free_vni(taken, Random(seed))
    assert found not in taken
    assert FIRST_VNI <= found <= LAST_VNI
