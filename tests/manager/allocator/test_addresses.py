"""Who holds which address: given out once, free again when given back, refused when there is none."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from manager.allocator.addresses import Addresses
from manager.allocator.waiting import Waits, network_key
from swarmcore.model.base import Driver
from swarmcore.model.network import IPAMConfig, IPAMOptions
from tests.manager.allocator.world import network


def known(*subnets: str) -> Addresses:
    configs = tuple(IPAMConfig(subnet=each) for each in subnets)
    made = network("n")
    made = replace(made, ipam_options=IPAMOptions(configs=configs), driver_state=Driver(name="overlay"))
    addresses = Addresses()
    assert addresses.know(made)
    assert not addresses.know(made), "its subnets are no news any more"
    return addresses


def test_each_holder_has_addresses_of_its_own_one_of_each_family() -> None:
    addresses = known("10.0.0.0/24", "fd00::/64")
    first, second = (addresses.give_out("n", holder) for holder in "ab")
    assert len(first) == len(second) == 2
    assert not set(first) & set(second)
    assert addresses.holds("n", first, "a")
    assert not addresses.holds("n", first, "b")
    assert not addresses.holds("n", (), "a")


def test_who_finds_no_room_waits_for_the_network_until_an_address_is_given_back() -> None:
    addresses = known("10.0.0.0/30")
    given = [addresses.give_out("n", holder) for holder in "ab"]
    with pytest.raises(Waits, match=r"10\.0\.0\.0/30 is full: 2 addresses in use") as caught:
        addresses.check_room("n")
    assert caught.value.key == network_key("n")
    assert addresses.note_change("a", [("n", given[0][0])], ()) == {"n"}
    addresses.check_room("n")
    assert addresses.give_out("n", "c") == given[0]


def test_a_wish_for_an_address_that_is_held_or_not_given_out_waits() -> None:
    addresses = known("10.0.0.0/24")
    assert addresses.give_out("n", "a", ("10.0.0.9",)) == ("10.0.0.9/24",)
    with pytest.raises(Waits, match=r"10\.0\.0\.9 is already in use"):
        addresses.check_room("n", ("10.0.0.9",))
    with pytest.raises(Waits, match=r"does not give out 10\.1\.0\.9"):
        addresses.check_room("n", ("10.1.0.9",))
