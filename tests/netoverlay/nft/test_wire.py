"""Numbers and lists of nf_tables' messages."""

from __future__ import annotations

import pytest

from netoverlay.netlink.wire import attribute
from netoverlay.nft import wire


@pytest.mark.parametrize("value", [0, 1, 4789, -300, -1, 2**31 - 1])
def test_numbers_are_in_network_order_and_may_be_negative(value: int) -> None:
    packed = wire.number(3, value)
    assert packed[4:] == (value & 0xFFFFFFFF).to_bytes(4, "big")
    assert wire.signed(packed[4:]) == value


def test_a_list_has_all_its_items_in_order() -> None:
    packed = attribute(1, b"a") + attribute(1, b"bcde") + attribute(1, b"")
    assert list(wire.items(packed)) == [(1, b"a"), (1, b"bcde"), (1, b"")]
    assert list(wire.items(packed + b"\0\0\0\0")) == list(wire.items(packed))


def test_a_header_says_the_family_and_the_generation() -> None:
    body = wire.header(wire.Family.INET, 0xABCD) + wire.number(1, 7)
    assert wire.family_of(body) == wire.Family.INET
    assert wire.generation_stamp(body) == 0xABCD
    assert wire.unpack_number(wire.body_attributes(body)[1]) == 7
