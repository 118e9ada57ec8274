from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarmcore.ipam import (
    AddressSet,
    Subnet,
    contains,
    first_address,
    free_subnet,
    local_ipv6_pool,
    overlap,
    parse_subnet,
    room,
)


def nets(*texts: str) -> list[Subnet]:
    return [ip_network(text) for text in texts]


# -- subnets ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "words"),
    [("10.0.0.1/24", "it should be 10.0.0.0/24"), ("ten", "write it like"), ("fd00::1/64", "fd00::/64")],
)
def test_a_subnet_that_is_none_is_told_with_what_it_should_be(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_subnet(text)


def test_subnets_of_two_families_never_overlap() -> None:
    assert not overlap(IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
    assert overlap(IPv4Network("10.0.0.0/8"), IPv4Network("10.9.0.0/16"))


@pytest.mark.parametrize(
    ("pools", "prefix", "taken", "found"),
    [
        (["10.0.0.0/8"], 24, [], "10.0.0.0/24"),
        (["10.0.0.0/8"], 24, ["10.0.0.0/20"], "10.0.16.0/24"),
        (["10.0.0.0/8"], 24, ["10.0.0.0/24", "10.0.2.0/24"], "10.0.1.0/24"),
        (["10.0.0.0/8"], 20, ["10.0.1.0/24"], "10.0.16.0/20"),
        (["10.0.0.0/16", "10.9.0.0/16"], 17, ["10.0.0.0/17", "10.0.200.0/24"], "10.9.0.0/17"),
        (["10.0.0.0/24"], 16, [], None),
        (["10.0.0.0/24"], 26, ["10.0.0.0/8"], None),
        (["10.0.0.0/24"], 26, ["10.0.0.0/25", "10.0.0.192/26"], "10.0.0.128/26"),
        (["10.0.0.0/24"], 25, ["10.0.0.127/32"], "10.0.0.128/25"),
        (["fd00::/48"], 64, ["fd00::/64", "10.0.0.0/8"], "fd00:0:0:1::/64"),
    ],
)
def test_the_first_free_subnet_is_found(
    pools: list[str], prefix: int, taken: list[str], found: str | None
) -> None:
    assert free_subnet(nets(*pools), prefix, nets(*taken)) == (ip_network(found) if found else None)


@settings(deadline=None)
@given(
    prefix=st.integers(20, 28),
    taken=st.lists(st.tuples(st.integers(0, 4095), st.integers(20, 32)), max_size=20),
)
def test_a_free_subnet_is_the_first_that_a_search_of_all_would_find(
    prefix: int, taken: list[tuple[int, int]]
) -> None:
    pool = IPv4Network("10.0.0.0/20")
    blocked = [IPv4Network((int(pool.network_address) + n, p), strict=False) for n, p in taken]
    every = (s for s in pool.subnets(new_prefix=prefix) if not any(s.overlaps(b) for b in blocked))
    assert free_subnet([pool], prefix, blocked) == next(every, None)


def test_a_swarms_ipv6_pool_is_its_own_and_local() -> None:
    one, other = local_ipv6_pool("swarm-a"), local_ipv6_pool("swarm-b")
    assert one == local_ipv6_pool("swarm-a") != other
    assert one.prefixlen == 48
    assert one.subnet_of(IPv6Network("fd00::/8"))


@pytest.mark.parametrize(
    ("subnet", "first", "size"),
    [
        ("10.0.0.0/24", "10.0.0.1", 254),
        ("10.0.0.0/31", "10.0.0.0", 2),
        ("10.0.0.7/32", "10.0.0.7", 1),
        ("fd00::/64", "fd00::1", 2**64 - 1),
    ],
)
def test_hosts_get_neither_the_networks_address_nor_a_broadcast(subnet: str, first: str, size: int) -> None:
    network = ip_network(subnet)
    assert (first_address(network), room(network)) == (first, size)
    assert contains(network, first)
    assert not contains(network, "10.9.9.9")
    assert not contains(network, "nonsense")


# -- addresses -------------------------------------------------------------------------------------
def some(
    subnet: str = "10.0.0.0/29", within: str = "", reserved: tuple[str, ...] = ("10.0.0.1",)
) -> AddressSet:
    return AddressSet(ip_network(subnet), ip_network(within) if within else None, reserved)


def test_addresses_are_given_in_order_without_the_gateway_until_none_is_left() -> None:
    addresses = some()
    assert [addresses.take("t") for _ in range(6)] == [
        "10.0.0.2/29",
        "10.0.0.3/29",
        "10.0.0.4/29",
        "10.0.0.5/29",
        "10.0.0.6/29",
        None,
    ]
    assert (addresses.size, addresses.used, addresses.full) == (5, 5, True)


def test_an_address_that_was_given_back_comes_last_and_the_one_free_for_longest_first() -> None:
    addresses = some()
    for _ in range(3):
        addresses.take("t")
    addresses.release("10.0.0.3/29", "t")
    addresses.release("10.0.0.2/29", "t")
    taken = [addresses.take("u") for _ in range(4)]
    assert taken == ["10.0.0.5/29", "10.0.0.6/29", "10.0.0.3/29", "10.0.0.2/29"]


def test_only_its_holder_gives_an_address_back() -> None:
    addresses = some()
    assert addresses.reserve("10.0.0.4", "t")
    assert not addresses.reserve("10.0.0.4/29", "u")
    assert not addresses.release("10.0.0.4", "u")
    assert addresses.holder("10.0.0.4/29") == "t"
    assert addresses.release("10.0.0.4", "t")
    assert addresses.holder("10.0.0.4") is None


def test_a_range_bounds_what_is_given() -> None:
    addresses = some("10.0.0.0/24", "10.0.0.128/30", ("10.0.0.1", "10.0.0.129"))
    assert [addresses.take("t") for _ in range(4)] == [
        "10.0.0.128/24",
        "10.0.0.130/24",
        "10.0.0.131/24",
        None,
    ]


def test_who_names_an_address_outside_of_the_range_gets_it_and_alone() -> None:
    addresses = some("10.0.0.0/24", "10.0.0.128/30", ("10.0.0.1",))
    assert addresses.covers("10.0.0.5")
    assert not addresses.covers("10.0.0.1")
    assert addresses.reserve("10.0.0.5", "t")
    assert not addresses.reserve("10.0.0.5", "u")
    assert (addresses.used, addresses.size) == (0, 4)
    addresses.was_used("10.0.0.7")
    assert addresses.release("10.0.0.5", "t")
    addresses.walk_on_from("10.0.0.5")
    assert [addresses.take("t") for _ in range(5)][-2:] == ["10.0.0.131/24", None]
    assert (addresses.used, addresses.full) == (4, True)


def test_after_a_change_of_leader_the_walk_goes_on_behind_the_last_and_the_used_come_last() -> None:
    addresses = some()
    addresses.was_used("10.0.0.5")
    addresses.was_used("10.0.0.2")
    addresses.walk_on_from("10.0.0.3")
    taken = [addresses.take("t") for _ in range(6)]
    assert taken == ["10.0.0.4/29", "10.0.0.6/29", "10.0.0.3/29", "10.0.0.5/29", "10.0.0.2/29", None]


def test_a_large_ipv6_subnet_costs_as_little_as_a_small_one() -> None:
    addresses = AddressSet(IPv6Network("fd00::/64"), None, ("fd00::1",))
    assert [addresses.take("t") for _ in range(2)] == ["fd00::2/64", "fd00::3/64"]
    addresses.reserve("fd00::ffff:ffff:ffff:ffff", "u")
    assert addresses.size == 2**64 - 2
    assert addresses.used == 3


SMALL = ip_network("10.0.0.0/27")
PLACES = st.integers(1, 30).map(lambda n: f"10.0.0.{n}/27")


class AddressSetAgainstDict(RuleBasedStateMachine):
    """Nothing is given twice, nothing is lost, and what was given back last is not given while older ones are free."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses = AddressSet(SMALL, None, ("10.0.0.1", "10.0.0.9"))
        self.held: dict[str, str] = {}
        self.returned: list[str] = []
        self.count = 0

    @rule()
    def take(self) -> None:
        self.count += 1
        got = self.addresses.take(str(self.count))
        if len(self.held) == 28:
            assert got is None
            return
        assert got is not None
        assert got not in self.held
        assert got not in ("10.0.0.1/27", "10.0.0.9/27")
        assert ip_address(got.partition("/")[0]) in SMALL
        if got in self.returned:
            assert got == self.returned[0]
            assert len(self.held) + len(self.returned) == 28, "a fresh one was left"
            self.returned.remove(got)
        self.held[got] = str(self.count)

    @rule(place=PLACES)
    def reserve(self, place: str) -> None:
        self.count += 1
        reserved = place in ("10.0.0.1/27", "10.0.0.9/27")
        free = reserved or place not in self.held
        assert self.addresses.reserve(place, str(self.count)) == free
        if free and not reserved:
            self.held[place] = str(self.count)
            if place in self.returned:
                self.returned.remove(place)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.held)))
        assert not self.addresses.release(place, "nobody")
        assert self.addresses.release(place, self.held.pop(place))
        self.returned.append(place)

    @invariant()
    def the_count_is_right(self) -> None:
        assert self.addresses.used == len(self.held)
        assert self.addresses.full == (len(self.held) == 28)


TestAddressSet = AddressSetAgainstDict.TestCase
TestAddressSet.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
