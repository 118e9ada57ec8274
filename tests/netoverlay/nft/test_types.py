"""Keys, values and digests as bytes, without a kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netoverlay.netlink.wire import attributes
from netoverlay.nft import expr, match, types
from netoverlay.nft.table import rule
from netoverlay.nft.types import Element, Verdict
from netoverlay.nft.wire import ElementsAttribute, Family, items


@pytest.mark.parametrize("names", [("gv*", "gv1"), ("gv*", "g*"), ("eth0", "eth0"), ("gv*", "gv*")])
def test_names_of_interfaces_must_not_overlap(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="overlapping"):
        types.interfaces(names)


@pytest.mark.parametrize("name", ["", "sixteen-letters!", "*"])
def test_what_no_interface_can_be_called_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not the name"):
        types.interfaces([name, "lo"])


@pytest.mark.parametrize("mac", ["", "02:00:00:00:00", "zz:00:00:00:00:00"])
def test_what_is_no_hardware_address_is_refused(mac: str) -> None:
    with pytest.raises(ValueError):
        types.ether(mac)


def test_fields_of_a_key_are_padded_to_32_bits() -> None:
    assert types.key(match.TCP, types.port(8080)) == b"\6\0\0\0\x1f\x90\0\0"
    assert types.concatenation(types.PROTOCOL, types.PORT) == types.Type(12 << 6 | 13, 8)


@given(
    st.lists(st.tuples(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)), max_size=6000)
)
def test_long_lists_are_cut_into_attributes_and_lose_nothing(pairs: list[tuple[bytes, bytes]]) -> None:
    pieces = types.lists(Element(key, value) for key, value in pairs)
    assert all(0 < len(piece) < 1 << 16 for piece in pieces)
    read = []
    for piece in pieces:
        for _, one in items(piece):
            found = attributes(one)
            read.append(
                (attributes(found[ElementsAttribute.KEY])[1], expr.read_data(found[ElementsAttribute.DATA]))
            )
    assert read == pairs


@given(
    st.sampled_from([types.ACCEPT, types.DROP, types.RETURN, types.jump("a"), types.goto("b")]) | st.binary()
)
def test_values_and_verdicts_read_back(value: bytes | Verdict) -> None:
    assert expr.read_data(types.data(value)) == value


@given(st.dictionaries(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4)), st.randoms())
def test_the_order_of_elements_does_not_matter(elements: dict[bytes, bytes], order: object) -> None:
    members = [Element(key, value) for key, value in elements.items()]
    assert types.digest_of(members) == types.digest_of(reversed(members))


def test_digests_tell_apart_what_differs_little() -> None:
    def spread(*targets: str) -> bytes:
        places = {types.mark(place): types.ip(each) for place, each in enumerate(targets)}
        chosen = expr.mapped(types.anonymous_map(types.INTEGER, types.IPV4, places))
        return rule(expr.random(len(targets)), chosen, expr.dnat(Family.IPV4)).digest

    rules = [
        spread("10.0.0.1", "10.0.0.2"),
        spread("10.0.0.2", "10.0.0.1"),
        spread("10.0.0.1"),
        rule(expr.is_in("a")).digest,
        rule(expr.is_in("a", inverted=True)).digest,
        rule(expr.is_in("b")).digest,
        rule(expr.decided("a")).digest,
        rule(expr.mapped("a", 1)).digest,
        rule(expr.immediate(bytes(4)), expr.set_mark()).digest,
        rule(expr.immediate(bytes(2)), expr.set_mark()).digest,
        rule(expr.set_ct_zone()).digest,
        rule(expr.set_ct_zone(expr.CT_ORIGINAL)).digest,
        rule(expr.set_ct_zone(expr.CT_REPLY)).digest,
        rule(expr.verdict(types.DROP)).digest,
        rule(expr.verdict(types.ACCEPT)).digest,
        rule().digest,
    ]
    assert len(set(rules)) == len(rules)
