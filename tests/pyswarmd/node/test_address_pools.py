"""Pools and ports that `init` takes or refuses."""

from __future__ import annotations

import pytest

from manager.membership.bootstrap import check_pools
from pyswarmd.node.addresses import check_data_path_port, data_path_address
from swarmcore.errors import Invalid


def test_pools_come_back_in_their_shortest_form() -> None:
    assert check_pools(["10.20.5.0/16", "10.30.0.0/16"], 26) == ("10.20.0.0/16", "10.30.0.0/16")
    assert check_pools([], 0) == ()


@pytest.mark.parametrize(
    ("pools", "size", "message"),
    [
        (["nonsense"], 0, "invalid base pool nonsense"),
        (["10.0.0.0/8"], 4, "Subnet size is too small for pool: 4"),
        (["10.0.0.0/25"], 0, "Subnet size is too small for pool: 24"),
        ([], 31, "subnet size is out of range: 31"),
        ([], -1, "subnet size is out of range"),
        (["fd00::/16"], 0, "it is not IPv4"),
        (["10.0.0.0/8", "10.9.0.0/16"], 0, "overlap"),
    ],
)
def test_pools_that_make_no_sense_are_refused(pools: list[str], size: int, message: str) -> None:
    with pytest.raises(Invalid) as failed:
        check_pools(pools, size)
    assert message in str(failed.value)


@pytest.mark.parametrize("port", [0, 1024, 4789, 49151])
def test_data_path_ports_that_are_taken(port: int) -> None:
    check_data_path_port(port)


@pytest.mark.parametrize("port", [-1, 1, 1023, 49152, 65536])
def test_data_path_ports_that_are_not(port: int) -> None:
    with pytest.raises(Invalid, match="not in valid range"):
        check_data_path_port(port)


async def test_the_data_path_has_an_address_of_its_own_or_none() -> None:
    assert await data_path_address("") == ""
    assert await data_path_address("10.1.1.1") == "10.1.1.1"
    with pytest.raises(Invalid, match="must be a non-zero IP address"):
        await data_path_address("0.0.0.0")
    with pytest.raises(Invalid, match="data path address 'nothere0' is neither"):
        await data_path_address("nothere0")
