"""What `vxi` and the rules about it shall be, as values: no kernel is asked."""

from __future__ import annotations

from collections import Counter
from socket import AF_INET, AF_INET6

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from netoverlay.mesh.routes import (
    MARK,
    NOTHING,
    device,
    difference,
    mesh,
    node_mac,
    policy,
)
from netoverlay.netlink.routing import Rule
from tests.netoverlay.mesh.tables import endpoint, node, table


def test_a_node_knows_the_others_and_whose_replicas_are_theirs() -> None:
    found = mesh(table(endpoint(21, 1), endpoint(22, 2)), "n1", ipv6=True)
    assert found.addresses == {"10.0.0.1/20", "fdc0:1:2:3::1/112"}
    assert found.neighbours["10.0.0.22"] == node_mac(2) == "02:70:73:00:00:02"
    assert "10.0.0.21" not in found.neighbours
    assert found.entries == {(node_mac(2), "192.0.2.2"), (node_mac(3), "192.0.2.3")}
    assert (7002, "10.0.0.2") in found.routes


def test_nothing_of_ipv6_is_wanted_where_the_kernel_has_none() -> None:
    found = mesh(table(endpoint(22, 2)), "n1", ipv6=False)
    assert not any(":" in each for each in found.neighbours)
    assert {each.family for each in found.rules} == {AF_INET}


def test_without_a_number_the_node_has_no_device_yet() -> None:
    made = table(endpoint(22, 2))
    made = replace(made, nodes={**made.nodes, "n1": replace(node(1), number=0)})
    assert device(made, "n1") is None
    assert mesh(made, "n1", ipv6=True) is NOTHING


def followed(rules: frozenset[Rule], mark: int, family: int = AF_INET) -> tuple[int, int]:
    """The table that a packet with this mark is led to (0: none), and how many rules it met on its way."""
    at = met = 0
    ordered = sorted(each for each in rules if each.family == family and not each.iif)
    for each in ordered:
        if each.priority < at:
            continue
        met += 1
        if mark & each.mask == each.mark and (each.goto or each.table):
            if each.table:
                return each.table, met
            if any(other.priority == each.goto for other in ordered):
                at = each.goto
    return 0, met


@given(st.sets(st.integers(1, 65_534), min_size=1, max_size=200))
def test_each_node_has_its_way_back_and_others_none(numbers: set[int]) -> None:
    rules = policy(sorted(numbers))
    for number in numbers:
        assert followed(rules, MARK | number)[0] == 7000 + number
        assert followed(rules, MARK | number, AF_INET6)[0] == 7000 + number
    stranger = next(each for each in range(1, 65_535) if each not in numbers)
    assert followed(rules, MARK | stranger)[0] == 0


def test_no_packet_meets_many_rules_however_many_nodes_there_are() -> None:
    rules = policy(list(range(1, 1025)))
    assert max(followed(rules, MARK | number)[1] for number in range(1, 1025)) < 100
    assert Counter(each.priority for each in rules)[701] == 2


def test_the_difference_to_itself_is_nothing() -> None:
    made = mesh(table(endpoint(22, 2)), "n1", ipv6=True)
    assert len(difference(made, made, 7)) == 0
    assert len(difference(NOTHING, made, 7)) > 0


def test_a_node_that_joins_touches_nothing_of_the_others() -> None:
    before, after = (mesh(table(nodes=count), "n1", ipv6=True) for count in (3, 4))
    changed = [each.what for each in difference(before, after, 7).requests]
    assert not [each for each in changed if "delete" in each]
    assert len(changed) == len(after.neighbours) - len(before.neighbours) + 1 + 2 + 2
