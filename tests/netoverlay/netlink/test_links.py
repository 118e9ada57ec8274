"""The links that we make, byte for byte as pyroute2 encodes the same message."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from netoverlay.netlink.links import Bridge, Veth, Vxlan
from tests.netoverlay.netlink.reference import (
    MAC,
    OTHER,
    V4,
    Attributes,
    asked,
    families,
    info,
    macs,
    names,
    plain,
    theirs,
    words,
)

MAKE = (16, 0x600)  # RTM_NEWLINK; NLM_F_CREATE | NLM_F_EXCL


@given(names, macs, words)
def test_a_bridge(name: str, mac: str, mtu: int) -> None:
    *how, body = asked(lambda batch: batch.make_link(Bridge(name, mtu=mtu, mac=mac)))
    assert tuple(how) == MAKE
    assert plain(body, 16) == theirs(
        ifinfmsg,
        [
            ("IFLA_IFNAME", name),
            ("IFLA_MTU", mtu),
            ("IFLA_ADDRESS", mac),
            info("bridge", ("IFLA_BR_STP_STATE", 0), ("IFLA_BR_MCAST_SNOOPING", 0)),
        ],
        flags=1,
        change=1,
    )


@given(names, st.integers(1, 2**24 - 1), families, st.integers(1, 65535), st.booleans(), st.data())
def test_a_vxlan_device(
    name: str, vni: int, family: tuple[int, Any, int], port: int, proxy: bool, data: st.DataObject
) -> None:
    local = data.draw(family[1])
    *how, body = asked(
        lambda batch: batch.make_link(
            Vxlan(name, vni, local=local, port=port, netns_fd=9, mtu=1400, proxy=proxy)
        )
    )
    assert tuple(how) == MAKE
    assert plain(body, 16) == theirs(
        ifinfmsg,
        [
            ("IFLA_IFNAME", name),
            ("IFLA_MTU", 1400),
            ("IFLA_NET_NS_FD", 9),
            info(
                "vxlan",
                ("IFLA_VXLAN_ID", vni),
                ("IFLA_VXLAN_LOCAL" if family[0] == V4 else "IFLA_VXLAN_LOCAL6", local),
                ("IFLA_VXLAN_PORT", port),
                ("IFLA_VXLAN_LEARNING", 0),
                ("IFLA_VXLAN_PROXY", int(proxy)),
            ),
        ],
        change=1,
    )


def test_a_pair_with_everything_and_one_with_nothing() -> None:
    *how, body = asked(
        lambda batch: batch.make_link(
            Veth(
                "v0",
                "eth0",
                peer_netns_fd=5,
                mtu=1400,
                mac=MAC,
                peer_mac=OTHER,
                master=3,
                up=True,
            )
        )
    )
    assert tuple(how) == MAKE
    peer: Attributes = [
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_MTU", 1400),
        ("IFLA_ADDRESS", OTHER),
        ("IFLA_NET_NS_FD", 5),
    ]
    near: Attributes = [
        ("IFLA_IFNAME", "v0"),
        ("IFLA_MTU", 1400),
        ("IFLA_ADDRESS", MAC),
        ("IFLA_MASTER", 3),
        info("veth", ("VETH_INFO_PEER", {"attrs": peer})),
    ]
    assert plain(body, 16) == theirs(ifinfmsg, near, flags=1, change=1)
    *how, body = asked(lambda batch: batch.make_link(Veth("v0", "eth0")))
    bare: Attributes = [
        ("IFLA_IFNAME", "v0"),
        info("veth", ("VETH_INFO_PEER", {"attrs": [("IFLA_IFNAME", "eth0")]})),
    ]
    assert plain(body, 16) == theirs(ifinfmsg, bare, change=1)
