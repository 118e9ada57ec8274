"""What we ask of rtnetlink, byte for byte as pyroute2 encodes the same message: an encoder of other people's."""

from __future__ import annotations

from collections.abc import Callable
from sys import byteorder
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pyroute2.netlink.rtnl.fibmsg import fibmsg
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Bridge, Veth, Vxlan
from netoverlay.netlink.numbers import RouteKind
from netoverlay.netlink.routing import Route, Rule, read_route, read_rule
from netoverlay.netlink.wire import NESTED, unpack_address

MAC, OTHER = "02:00:00:00:00:09", "02:00:00:00:00:0a"
V4, V6 = 2, 10
Attributes = list[tuple[str, Any]]

indices = st.integers(1, 2**31 - 1)
words = st.integers(1, 2**32 - 1)
macs = st.binary(min_size=6, max_size=6).map(lambda each: each.hex(":"))
fours = st.integers(0, 2**32 - 1).map(lambda each: unpack_address(each.to_bytes(4, "big")))
sixes = st.integers(0, 2**128 - 1).map(lambda each: unpack_address(each.to_bytes(16, "big")))
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=15)
families = st.sampled_from([(V4, fours, 32), (V6, sixes, 128)])


def asked(queue: Callable[[RouteBatch], None]) -> tuple[int, int, bytes]:
    """Type, flags and body of the one request that was queued."""
    batch = RouteBatch()
    queue(batch)
    (request,) = batch.requests
    return request.kind, request.flags, request.body


def theirs(layout: type[Any], attributes: Attributes, **fields: int) -> bytes:
    """The body as pyroute2 has it."""
    message = layout()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data)[16:]


def plain(body: bytes, start: int = 0) -> bytes:
    """Without NLA_F_NESTED, which pyroute2 leaves out and the kernel's strict parsers ask for."""
    done, place = bytearray(body[:start]), start
    while place < len(body):
        size = int.from_bytes(body[place : place + 2], byteorder)
        kind = int.from_bytes(body[place + 2 : place + 4], byteorder)
        value, end = body[place + 4 : place + size], place + (size + 3 & ~3)
        if kind & NESTED:
            value = plain(value)
        done += size.to_bytes(2, byteorder) + (kind & ~NESTED).to_bytes(2, byteorder) + value
        done += body[place + size : end]
        place = end
    return bytes(done)


def info(kind: str, *attributes: tuple[str, Any]) -> tuple[str, Any]:
    inner: Attributes = [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": list(attributes)})]
    return "IFLA_LINKINFO", {"attrs": inner}


# -- links ---------------------------------------------------------------------------------------------
MAKE, PUT = (16, 0x600), (16, 0)  # RTM_NEWLINK; NLM_F_CREATE | NLM_F_EXCL


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


# -- addresses -----------------------------------------------------------------------------------------
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


# -- routes --------------------------------------------------------------------------------------------
@given(families, indices, words, st.integers(0, 2**32 - 1), st.booleans(), st.data())
def test_a_route(
    family: tuple[int, Any, int],
    index: int,
    table: int,
    metric: int,
    onlink: bool,
    data: st.DataObject,
) -> None:
    target, bits = data.draw(family[1]), data.draw(st.integers(0, family[2]))
    gateway, source = data.draw(family[1]), data.draw(family[1])
    route = Route(
        f"{target}/{bits}",
        index=index,
        gateway=gateway,
        source=source,
        table=table,
        scope=0,
        metric=metric,
        family=family[0],
        onlink=onlink,
    )
    wanted: Attributes = [
        ("RTA_DST", target),
        ("RTA_GATEWAY", gateway),
        ("RTA_OIF", index),
        ("RTA_PREFSRC", source),
        *([("RTA_PRIORITY", metric)] if metric else []),
        ("RTA_TABLE", table),
    ]
    fields = {"family": family[0], "dst_len": bits, "table": table if table < 256 else 0}
    ours = {"proto": 0x50, "scope": 0, "type": 1, "flags": 4 if onlink else 0}
    body = theirs(rtmsg, wanted, **fields, **ours)
    assert asked(lambda batch: batch.put_route(replace(route, scope=None, family=0))) == (24, 0x500, body)
    assert read_route(body) == replace(route, onlink=False)


@pytest.mark.parametrize(
    ("queue", "attributes", "fields"),
    [
        (
            lambda batch: batch.put_route(Route("10.9.0.0/16", index=7)),
            [("RTA_DST", "10.9.0.0"), ("RTA_OIF", 7), ("RTA_TABLE", 254)],
            {"family": V4, "dst_len": 16, "table": 254, "proto": 0x50, "scope": 253, "type": 1},
        ),
        (
            lambda batch: batch.put_route(Route("fd09::/64", index=7)),
            [("RTA_DST", "fd09::"), ("RTA_OIF", 7), ("RTA_TABLE", 254)],
            {"family": V6, "dst_len": 64, "table": 254, "proto": 0x50, "scope": 0, "type": 1},
        ),
        (
            lambda batch: batch.put_route(Route("default", gateway="fd01::9")),
            [("RTA_GATEWAY", "fd01::9"), ("RTA_TABLE", 254)],
            {"family": V6, "table": 254, "proto": 0x50, "scope": 0, "type": 1},
        ),
        (
            lambda batch: batch.put_route(Route("10.8.0.0/16", kind=RouteKind.BLACKHOLE, table=70_000)),
            [("RTA_DST", "10.8.0.0"), ("RTA_TABLE", 70_000)],
            {"family": V4, "dst_len": 16, "proto": 0x50, "scope": 0, "type": 6},
        ),
        (
            lambda batch: batch.put_route(
                Route("::1/128", index=7, table=255, kind=RouteKind.LOCAL, metric=4007)
            ),
            [("RTA_DST", "::1"), ("RTA_OIF", 7), ("RTA_PRIORITY", 4007), ("RTA_TABLE", 255)],
            {"family": V6, "dst_len": 128, "table": 255, "proto": 0x50, "scope": 0, "type": 2},
        ),
    ],
    ids=["on the link", "on the link, IPv6", "default", "blackhole", "local"],
)
def test_routes_of_every_kind(
    queue: Callable[[RouteBatch], None], attributes: Attributes, fields: dict[str, int]
) -> None:
    assert asked(queue) == (24, 0x500, theirs(rtmsg, attributes, **fields))


@pytest.mark.parametrize(
    ("queue", "attributes", "fields"),
    [
        (
            lambda batch: batch.delete_route(Route("10.9.0.0/16")),
            [("RTA_DST", "10.9.0.0"), ("RTA_TABLE", 254)],
            {"family": V4, "dst_len": 16, "table": 254, "scope": 255},
        ),
        (
            lambda batch: batch.delete_route(
                Route("default", gateway="fd01::9", index=7, table=7001, metric=3)
            ),
            [("RTA_GATEWAY", "fd01::9"), ("RTA_OIF", 7), ("RTA_PRIORITY", 3), ("RTA_TABLE", 7001)],
            {"family": V6, "scope": 255},
        ),
        (
            lambda batch: batch.delete_route(Route("fd08::/64", table=70_000, kind=RouteKind.BLACKHOLE)),
            [("RTA_DST", "fd08::"), ("RTA_TABLE", 70_000)],
            {"family": V6, "dst_len": 64, "scope": 255, "type": 6},
        ),
    ],
    ids=["by destination", "by all that is known", "blackhole"],
)
def test_a_route_is_deleted_by_what_is_known_of_it(
    queue: Callable[[RouteBatch], None], attributes: Attributes, fields: dict[str, int]
) -> None:
    assert asked(queue) == (25, 0, theirs(rtmsg, attributes, **fields))


# -- rules ---------------------------------------------------------------------------------------------
@given(words, words, words, words, names, names, families, st.booleans(), st.data())
def test_a_rule_is_made_and_deleted(
    priority: int,
    table: int,
    mark: int,
    mask: int,
    iif: str,
    oif: str,
    family: tuple[int, Any, int],
    invert: bool,
    data: st.DataObject,
) -> None:
    source, target = data.draw(family[1]), data.draw(family[1])
    wide, narrow = data.draw(st.integers(0, family[2])), data.draw(st.integers(0, family[2]))
    rule = Rule(
        family[0],
        priority,
        table=table,
        mark=mark,
        mask=mask,
        iif=iif,
        oif=oif,
        source=f"{source}/{wide}",
        destination=f"{target}/{narrow}",
        invert=invert,
    )
    wanted: Attributes = [
        ("FRA_PRIORITY", priority),
        ("FRA_PROTOCOL", 0x50),
        ("FRA_DST", target),
        ("FRA_SRC", source),
        ("FRA_IIFNAME", iif),
        ("FRA_OIFNAME", oif),
        ("FRA_FWMARK", mark),
        ("FRA_FWMASK", mask),
        ("FRA_TABLE", table),
    ]
    lengths = {"src_len": wide, "dst_len": narrow}
    body = theirs(fibmsg, wanted, family=family[0], **lengths, action=1, flags=2 if invert else 0)
    assert asked(lambda batch: batch.make_rule(rule)) == (32, 0x600, body)
    assert asked(lambda batch: batch.delete_rule(rule)) == (33, 0, body)
    assert read_rule(body) == rule


@pytest.mark.parametrize("family", [V4, V6])
def test_rules_that_go_on_and_that_do_nothing(family: int) -> None:
    first: Attributes = [("FRA_PRIORITY", 701), ("FRA_PROTOCOL", 0x50)]
    goto: Attributes = [*first, ("FRA_FWMARK", 7), ("FRA_FWMASK", 0xFFFFFFFF), ("FRA_GOTO", 40_000)]
    body = theirs(fibmsg, goto, family=family, action=2)
    assert asked(lambda batch: batch.make_rule(Rule(family, 701, mark=7, goto=40_000))) == (32, 0x600, body)
    assert asked(lambda batch: batch.delete_rule(Rule(family, 701, mark=7, goto=40_000))) == (33, 0, body)
    nothing = theirs(fibmsg, first, family=family, action=3)
    assert asked(lambda batch: batch.make_rule(Rule(family, 701))) == (32, 0x600, nothing)
    whatever = theirs(fibmsg, first, family=family)
    assert asked(lambda batch: batch.delete_rule(Rule(family, 701))) == (33, 0, whatever)


# -- peers ---------------------------------------------------------------------------------------------
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
