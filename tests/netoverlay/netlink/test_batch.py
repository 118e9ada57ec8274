"""What is changed and put, byte for byte as pyroute2 encodes the same message: an encoder of other people's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from tests.netoverlay.netlink.reference import (
    MAC,
    V6,
    Attributes,
    asked,
    families,
    indices,
    macs,
    plain,
    theirs,
)

PUT = (16, 0)  # RTM_NEWLINK


def test_what_is_changed_of_a_link() -> None:
    *how, body = asked(
        lambda batch: batch.change_link(7, up=True, master=0, mtu=1300, mac=MAC, link_local=False)
    )
    assert tuple(how) == PUT
    wanted: Attributes = [
        ("IFLA_MTU", 1300),
        ("IFLA_ADDRESS", MAC),
        ("IFLA_MASTER", 0),
        ("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]}),
    ]
    assert plain(body, 16) == theirs(ifinfmsg, wanted, index=7, flags=1, change=1)
    *how, body = asked(lambda batch: batch.change_link("v1", up=False))
    assert tuple(how) == PUT
    assert body == theirs(ifinfmsg, [("IFLA_IFNAME", "v1")], change=1)
    *how, body = asked(lambda batch: batch.change_link("v1", mtu=1400))
    assert body == theirs(ifinfmsg, [("IFLA_IFNAME", "v1"), ("IFLA_MTU", 1400)])


@pytest.mark.parametrize("device", [7, "v1"])
def test_a_port_and_the_end_of_a_link(device: int | str) -> None:
    index = device if isinstance(device, int) else 0
    named: Attributes = [("IFLA_IFNAME", device)] if isinstance(device, str) else []
    *how, body = asked(lambda batch: batch.change_port(device, learning=False, flooding=True))
    assert tuple(how) == PUT
    wanted: Attributes = [("IFLA_BRPORT_LEARNING", 0), ("IFLA_BRPORT_UNICAST_FLOOD", 1)]
    slave: Attributes = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": wanted})]
    assert plain(body, 16) == theirs(ifinfmsg, [*named, ("IFLA_LINKINFO", {"attrs": slave})], index=index)
    *how, body = asked(lambda batch: batch.delete_link(device))
    assert tuple(how) == (17, 0)
    assert body == theirs(ifinfmsg, named, index=index)


@given(families, indices, st.data())
def test_an_address(family: tuple[int, Any, int], index: int, data: st.DataObject) -> None:
    address, bits = data.draw(family[1]), data.draw(st.integers(0, family[2]))
    both: Attributes = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
    marks = 2 if family[0] == V6 else 0  # IFA_F_NODAD
    body = theirs(ifaddrmsg, both, family=family[0], prefixlen=bits, index=index, flags=marks)
    put = asked(lambda batch: batch.put_address(index, f"{address}/{bits}"))
    assert put == (20, 0x500, body)  # RTM_NEWADDR; NLM_F_CREATE | NLM_F_REPLACE
    deleted = asked(lambda batch: batch.delete_address(index, f"{address}/{bits}"))
    assert deleted == (21, 0, body)


@given(families, indices, macs, st.data())
def test_a_neighbour(family: tuple[int, Any, int], index: int, mac: str, data: st.DataObject) -> None:
    address = data.draw(family[1])
    known: Attributes = [("NDA_DST", address), ("NDA_LLADDR", mac)]
    body = theirs(ndmsg, known, family=family[0], ifindex=index, state=0x80)
    assert asked(lambda batch: batch.put_neighbour(index, address, mac)) == (28, 0x500, body)
    body = theirs(ndmsg, known[:1], family=family[0], ifindex=index)
    assert asked(lambda batch: batch.delete_neighbour(index, address)) == (29, 0, body)


@given(families, indices, macs, st.data())
def test_a_forwarding_entry(family: tuple[int, Any, int], index: int, mac: str, data: st.DataObject) -> None:
    vtep = data.draw(family[1])
    fields = {"family": 7, "ifindex": index}
    entry: Attributes = [("NDA_DST", vtep), ("NDA_LLADDR", mac)]
    body = theirs(ndmsg, entry, **fields, state=0x80, flags=2)
    assert asked(lambda batch: batch.put_fdb(index, mac, vtep)) == (28, 0x500, body)
    body = theirs(ndmsg, entry[1:], **fields, state=0x40, flags=0x44)
    assert asked(lambda batch: batch.put_port_fdb(index, mac)) == (28, 0x500, body)
    body = theirs(ndmsg, entry[1:], **fields, state=0x80, flags=2)
    assert asked(lambda batch: batch.delete_fdb(index, mac)) == (29, 0, body)
    entry = [entry[1], entry[0], ("NDA_PORT", 4790), ("NDA_VNI", 9), ("NDA_IFINDEX", 3)]
    body = theirs(ndmsg, entry, **fields, state=0x80, flags=2)
    assert asked(lambda batch: batch.delete_fdb(index, mac, vtep, port=4790, vni=9, via=3)) == (29, 0, body)
