"""rtnetlink in a real kernel: what is asked for is there, what is refused is explained, both families alike."""

from __future__ import annotations

import errno
import socket

import pytest

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netlink.links import Bridge, Veth, Vxlan
from netoverlay.netlink.notices import Notices
from netoverlay.netlink.numbers import PROTOCOL, Group, RouteKind, RuleAction, Table
from netoverlay.netlink.records import Forwarding, Link
from netoverlay.netlink.routing import Route, Rule
from netoverlay.netlink.wire import NetlinkError
from netoverlay.netns import NETLINK_ROUTE, Namespace, Namespaces
from tests.netoverlay.hosts import ip, unique

root = pytest.mark.root
MAC = "02:00:00:00:00:09"


@pytest.fixture
def one(namespaces: Namespaces) -> Namespace:
    return namespaces.create(unique("a"))


def bridge(namespace: Namespace, *addresses: str) -> int:
    batch = RouteBatch()
    batch.make_link(Bridge("br0", mtu=1450, mac=MAC))
    namespace.route.commit(batch)
    link = namespace.route.link("br0")
    assert link is not None
    for cidr in addresses:
        batch.put_address(link.index, cidr)
    namespace.route.commit(batch)
    return link.index


def vxlan(namespace: Namespace, vni: int = 7) -> int:
    batch = RouteBatch()
    batch.make_link(Vxlan(f"vx{vni}", vni, local="127.0.0.1", mtu=1400, up=True))
    namespace.route.commit(batch)
    link = namespace.route.link(f"vx{vni}")
    assert link is not None
    return link.index


@pytest.mark.parametrize("wrong", ["", "10.0.0", "10.0.0.0/33", "fd00::/129", "x::1"])
def test_what_is_no_network_is_refused_before_it_is_sent(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        RouteBatch().put_route(Route(wrong))


@root
def test_links_are_made_and_told_of(namespaces: Namespaces, one: Namespace) -> None:
    other = namespaces.create(unique("b"))
    index = bridge(one)
    batch = RouteBatch()
    batch.make_link(Veth("v1", "eth0", peer_netns_fd=other.fd, mtu=1450, peer_mac=MAC, master=index, up=True))
    batch.make_link(Vxlan("vx7", 7, local="fd30::1", port=4790, mtu=1380, netns_fd=other.fd))
    one.route.commit(batch)
    near, far, tunnel = one.route.link("v1"), other.route.link("eth0"), other.route.link("vx7")
    assert near is not None
    assert far is not None
    assert tunnel is not None
    assert (near.kind, near.master, near.up, near.mtu) == ("veth", index, True, 1450)
    assert (far.mac, far.up, far.mtu) == (MAC, False, 1450)
    assert (near.peer, far.peer) == (far.index, near.index)
    assert (tunnel.kind, tunnel.vni, tunnel.local, tunnel.port) == ("vxlan", 7, "fd30::1", 4790)
    assert tunnel.proxy
    assert not tunnel.learning
    assert tunnel.peer_elsewhere
    assert {each.name for each in other.route.links()} == {"lo", "eth0", "vx7"}
    batch.change_link("v1", up=False, master=0, mtu=1300)
    batch.delete_link("br0")
    one.route.commit(batch)
    changed = one.route.link("v1")
    assert changed is not None
    assert (changed.up, changed.master, changed.mtu) == (False, 0, 1300)
    assert one.route.link("br0") is None
    assert one.route.link(99) is None


@root
def test_a_port_says_whether_it_learns_and_floods(one: Namespace) -> None:
    master, port = bridge(one), vxlan(one)
    batch = RouteBatch()
    batch.change_link(port, master=master)
    batch.change_port(port, learning=False, flooding=False)
    one.route.commit(batch)
    link: Link | None = one.route.link(port)
    assert link is not None
    assert (link.port_learning, link.flooding) == (False, False)
    batch.change_port(link.name, learning=True, flooding=False)
    batch.put_port_fdb(port, "02:00:00:00:00:05")
    one.route.commit(batch)
    link = one.route.link(port)
    assert link is not None
    assert (link.port_learning, link.flooding) == (True, False)
    (entry,) = [each for each in one.route.fdb(port) if each.sticky]
    assert (entry.mac, entry.own, entry.permanent) == ("02:00:00:00:00:05", False, False)


@root
def test_an_ipv6_address_may_be_used_at_once_and_twice_given(one: Namespace) -> None:
    index = bridge(one, "10.1.0.1/24", "fd01::1/64")
    batch = RouteBatch()
    batch.put_address(index, "10.1.0.1/24")
    batch.put_address(index, "fd01::1/64")
    one.route.commit(batch)
    found = {f"{each.address}/{each.prefix}" for each in one.route.addresses(index) if each.scope == 0}
    assert found == {"10.1.0.1/24", "fd01::1/64"}
    assert "nodad" in ip(one, "ip", "-6", "address", "show", "br0")
    with one.socket(socket.AF_INET6, socket.SOCK_STREAM) as usable:
        usable.bind(("fd01::1", 0))
    batch.delete_address(index, "fd01::1/64")
    one.route.commit(batch)
    assert [each.address for each in one.route.addresses(index, socket.AF_INET6) if each.scope == 0] == []


@root
def test_routes_of_both_families_are_made_replaced_and_deleted(one: Namespace) -> None:
    index = bridge(one, "10.1.0.1/24", "fd01::1/64")
    batch = RouteBatch()
    batch.change_link(index, up=True)
    for _ in range(2):
        batch.put_route(Route("10.9.0.0/16", index=index, source="10.1.0.1"))
        batch.put_route(Route("fd09::/64", index=index))
        batch.put_route(Route("default", gateway="10.1.0.9"))
        batch.put_route(Route("default", gateway="fd01::9"))
        batch.put_route(Route("default", gateway="169.254.1.1", index=index, onlink=True, table=70_000))
        batch.put_route(Route("fd08::/64", kind=RouteKind.BLACKHOLE, table=70_000))
    one.route.commit(batch)
    ours = {each.destination: each for each in one.route.routes() if each.protocol == PROTOCOL}
    assert set(ours) == {"10.9.0.0/16", "fd09::/64", "default"}
    assert ours["10.9.0.0/16"].source == "10.1.0.1"
    elsewhere = {(each.destination, each.gateway, each.kind) for each in one.route.routes(70_000)}
    assert elsewhere == {("default", "169.254.1.1", 1), ("fd08::/64", "", RouteKind.BLACKHOLE)}
    assert one.route.routes(70_001) == []
    batch.delete_route(Route("10.9.0.0/16"))
    batch.delete_route(Route("fd09::/64"))
    batch.delete_route(Route("default", gateway="10.1.0.9"))
    batch.delete_route(Route("default", gateway="fd01::9", table=Table.MAIN))
    batch.delete_route(Route("default", table=70_000))
    batch.delete_route(Route("fd08::/64", table=70_000, kind=RouteKind.BLACKHOLE))
    one.route.commit(batch)
    assert [each for each in one.route.routes(0) if each.protocol == PROTOCOL] == []


@root
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_rules_are_made_told_of_and_deleted(one: Namespace, family: int) -> None:
    batch = RouteBatch()
    batch.make_rule(Rule(family, 90, goto=32_766, mark=0x70000, mask=0xFF0000, invert=True))
    batch.make_rule(Rule(family, 91, table=70_000, mark=0x70001, mask=0xFFFFFF))
    batch.make_rule(Rule(family, 92))
    batch.make_rule(Rule(family, 93, table=12, iif="vxi", source="10.0.0.0/8" if family == 2 else "fd00::/8"))
    one.route.commit(batch)
    found = {each.priority: each for each in one.route.rules(family) if each.protocol == PROTOCOL}
    assert set(found) == {90, 91, 92, 93}
    assert (found[90].action, found[90].goto, found[90].invert) == (RuleAction.GOTO, 32_766, True)
    assert (found[91].action, found[91].table, found[91].mark, found[91].mask) == (
        RuleAction.TO_TABLE,
        70_000,
        0x70001,
        0xFFFFFF,
    )
    assert (found[93].iif, found[93].source.partition("/")[2]) == ("vxi", "8")
    batch.make_rule(Rule(family, 92))
    with pytest.raises(NetlinkError) as taken:
        one.route.commit(batch)
    assert taken.value.errno == errno.EEXIST
    for priority in (90, 91, 92, 93):
        batch.delete_rule(Rule(family, priority))
    one.route.commit(batch)
    assert [each for each in one.route.rules(family) if each.protocol == PROTOCOL] == []


@root
def test_peers_are_set_replaced_listed_by_device_and_deleted(one: Namespace) -> None:
    first, second = vxlan(one, 7), vxlan(one, 8)
    batch = RouteBatch()
    for vtep in ("172.30.0.2", "172.30.0.3"):
        for address in ("10.0.0.9", "fd00::9"):
            batch.put_neighbour(first, address, MAC)
        batch.put_fdb(first, MAC, vtep)
    batch.put_neighbour(second, "10.0.0.1", MAC)
    one.route.commit(batch)
    found = {
        (each.address, each.mac, each.permanent) for each in one.route.neighbours(first) if each.permanent
    }
    assert found == {("10.0.0.9", MAC, True), ("fd00::9", MAC, True)}
    assert [(each.mac, each.vtep, each.own, each.permanent) for each in one.route.fdb(first)] == [
        (MAC, "172.30.0.3", True, True)
    ]
    assert one.route.fdb(second) == []
    for address in ("10.0.0.9", "fd00::9"):
        batch.delete_neighbour(first, address)
    batch.delete_fdb(first, MAC, "172.30.0.3")
    one.route.commit(batch)
    assert not any(each.permanent for each in one.route.neighbours(first))
    assert one.route.fdb(first) == []


@root
def test_an_error_says_which_request_and_why_and_the_rest_is_carried_out(one: Namespace) -> None:
    index = vxlan(one, 7)
    batch = RouteBatch()
    batch.put_neighbour(index, "10.0.0.1", MAC)
    batch.make_link(Vxlan("twice", 7, local="127.0.0.1"))
    batch.put_neighbour(99, "10.0.0.2", MAC)
    batch.put_neighbour(index, "10.0.0.3", MAC)
    with pytest.raises(
        NetlinkError, match="twice: A VXLAN device with the specified VNI already exists"
    ) as told:
        one.route.commit(batch)
    assert (told.value.errno, told.value.index) == (errno.EEXIST, 1)
    assert {each.address for each in one.route.neighbours(index) if each.permanent} == {
        "10.0.0.1",
        "10.0.0.3",
    }
    assert len(batch) == 0
    batch.make_link(Vxlan("twice", 7, local="127.0.0.1"))
    one.route.commit(batch, ignore=(errno.EEXIST,))


@root
def test_thousands_of_requests_and_of_errors_fit(one: Namespace) -> None:
    index = vxlan(one, 7)
    batch = RouteBatch()
    for number in range(3000):
        batch.put_neighbour(index, f"10.{number >> 8}.{number & 255}.1", MAC)
    one.route.commit(batch)
    assert sum(each.permanent for each in one.route.neighbours(index)) == 3000
    for _ in range(3000):
        batch.delete_neighbour(index, "10.255.255.1")
    one.route.commit(batch, ignore=(errno.ENOENT,))
    with pytest.raises(NetlinkError) as missing:
        for _ in range(3000):
            batch.delete_neighbour(index, "10.255.255.1")
        one.route.commit(batch)
    assert missing.value.index == 0


@root
def test_notices_tell_what_others_did_and_not_what_we_did(one: Namespace) -> None:
    index = vxlan(one, 7)
    notices = Notices(
        one.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE), Group.LINKS | Group.NEIGHBOURS
    )
    own = (one.route.port,)

    def news(entry: Forwarding, gone: bool) -> bool:
        return (entry.vtep == "172.30.0.2") == gone

    try:
        batch = RouteBatch()
        batch.put_neighbour(index, "10.0.0.1", MAC)
        batch.put_fdb(index, MAC, "172.30.0.2")
        one.route.commit(batch)
        assert not notices.touched(own, news)
        ip(one, "ip", "neighbour", "flush", "dev", "vx7", "nud", "permanent")
        assert notices.touched(own, news)
        assert not notices.touched(own, news)
        ip(one, "bridge", "fdb", "delete", MAC, "dev", "vx7", "dst", "172.30.0.2")
        assert notices.touched(own, news)
        ip(one, "ip", "link", "set", "vx7", "down")
        notices.clear()
        assert not notices.touched(own, news)
    finally:
        notices.close()
