"""Where a lab's hosts are: said once, read back from the machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarmd.lab.wires import DEFAULT, wires, wires_of
from swarmcore.errors import Invalid


def test_hosts_are_numbered_in_the_subnet() -> None:
    assert DEFAULT.address(11) == "10.77.0.11"
    assert (wires("172.17.0.0/16").address(201), wires("10.0.0.0/24").address(201)) == (
        "172.17.0.201",
        "10.0.0.201",
    )


@given(
    st.integers(8, 24).map(lambda prefix: f"10.0.0.0/{prefix}"),
    st.lists(st.sampled_from(["172.16.0.0/12", "192.168.0.0/16", "fd99:1::/32"]), max_size=8),
    st.booleans(),
)
def test_wires_are_read_back_as_they_were_written(subnet: str, routes: list[str], ipv6: bool) -> None:
    made = wires(subnet, routes, ipv6=ipv6)
    assert wires_of(made.text()) == made
    assert len(made.text()) < 256  # a device's alias (IFALIASZ)


@pytest.mark.parametrize(
    ("subnet", "routes", "words"),
    [
        ("10.0.0.0/25", (), "does not fit into 10.0.0.0/25"),
        ("fd00::/64", (), "does not fit into"),
        ("10.0.0.1/24", (), "invalid network '10.0.0.1/24'"),
        ("nonsense", (), "invalid network 'nonsense'"),
        ("", ("10.1.0.0/33",), "invalid network"),
        ("", ("10.1.0.0/24",) * 9, "at most 8 routes"),
    ],
)
def test_what_makes_no_sense_is_refused(subnet: str, routes: tuple[str, ...], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        wires(subnet, routes)
