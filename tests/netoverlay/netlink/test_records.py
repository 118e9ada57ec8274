"""What the kernel tells, read from messages as pyroute2 encodes them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from netoverlay.netlink.records import (
    Address,
    Forwarding,
    Link,
    Neighbour,
    read_address,
    read_forwarding,
    read_link,
    read_neighbour,
)
from tests.netoverlay.netlink.reference import MAC, V4, Attributes, families, indices, info, macs, theirs


def test_a_vxlan_device_is_told_with_all_that_is_its_own() -> None:
    port: Attributes = [("IFLA_BRPORT_LEARNING", 0), ("IFLA_BRPORT_UNICAST_FLOOD", 1)]
    made: Attributes = [
        ("IFLA_VXLAN_ID", 7),
        ("IFLA_VXLAN_LOCAL", "192.0.2.1"),
        ("IFLA_VXLAN_PORT", 4789),
        ("IFLA_VXLAN_LEARNING", 0),
        ("IFLA_VXLAN_PROXY", 1),
    ]
    name, inner = info("vxlan", *made)
    inner["attrs"] += [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": port})]
    told: Attributes = [("IFLA_IFNAME", "vx7"), ("IFLA_ADDRESS", MAC), ("IFLA_MTU", 1450), ("IFLA_MASTER", 2)]
    body = theirs(ifinfmsg, [*told, ("IFLA_LINK_NETNSID", 0), (name, inner)], index=3, flags=1)
    assert read_link(body) == Link(
        index=3,
        name="vx7",
        kind="vxlan",
        mac=MAC,
        mtu=1450,
        up=True,
        master=2,
        peer_elsewhere=True,
        vni=7,
        local="192.0.2.1",
        port=4789,
        proxy=True,
        port_learning=False,
    )


@given(families, indices, macs, st.integers(0, 0xFFFF), st.data())
def test_addresses_and_neighbours(
    family: tuple[int, Any, int], index: int, mac: str, state: int, data: st.DataObject
) -> None:
    address = data.draw(family[1])
    known: Attributes = [("NDA_DST", address), ("NDA_LLADDR", mac)]
    told = read_neighbour(theirs(ndmsg, known, family=family[0], ifindex=index, state=state))
    assert told == Neighbour(index, address, mac, state)
    both: Attributes = [
        ("IFA_ADDRESS", "192.0.2.9" if family[0] == V4 else "fd00::9"),
        ("IFA_LOCAL", address),
    ]
    body = theirs(ifaddrmsg, both, family=family[0], prefixlen=24, index=index, scope=253)
    assert read_address(body) == Address(index, address, 24, 253)


def test_a_neighbour_of_another_family_is_none() -> None:
    assert read_neighbour(theirs(ndmsg, [("NDA_LLADDR", MAC)], family=7, ifindex=2)) is None


def test_a_forwarding_entry_says_whose_it_is() -> None:
    entry: Attributes = [("NDA_LLADDR", MAC), ("NDA_DST", "192.0.2.7"), ("NDA_PORT", 4790), ("NDA_VNI", 9)]
    body = theirs(ndmsg, entry, family=7, ifindex=2, state=0x80, flags=2)
    own = Forwarding(index=2, mac=MAC, vtep="192.0.2.7", state=0x80, own=True, port=4790, vni=9)
    assert read_forwarding(body) == own
    assert own.permanent
    body = theirs(ndmsg, entry[:1], family=7, ifindex=2, state=0x40, flags=0x44)
    assert read_forwarding(body) == Forwarding(index=2, mac=MAC, vtep="", state=0x40, own=False, sticky=True)
