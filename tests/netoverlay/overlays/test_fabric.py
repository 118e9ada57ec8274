"""Overlays between two hosts: containers reach each other, tables change, and nothing is left at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from netoverlay.overlays.links import overlay_mtu
from netoverlay.overlays.wires import wire_name
from tests.netoverlay.hosts import (
    DUAL,
    Host,
    bring_up,
    ip,
    is_reachable,
    joined_hosts,
    network,
    only,
    open_files,
    overlay_of,
    pair,
    send_whole,
    table,
    talk,
    unique,
    update,
)

pytestmark = pytest.mark.root


# -- traffic -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("vtep", ["v4", "v6"])
def test_containers_of_two_hosts_talk_over_either_family_and_either_underlay(
    hosts: tuple[Host, Host], vtep: str
) -> None:
    for host in hosts:
        host.vtep = getattr(host, vtep)
    mtu = 1450 if vtep == "v4" else 1430
    made, one, two = pair(hosts)
    assert hosts[0].fabric.networks()[made.network.id].mtu == mtu
    for source, target in ((one, two), (two, one)):
        for address in target.addresses:
            talk(source, address, target)
            send_whole(source, address, target, mtu)
    with pytest.raises(OSError, match="Message too long"):
        send_whole(one, two.addresses[0], two, mtu + 1)


def test_containers_of_one_host_talk_without_entries(hosts: tuple[Host, Host]) -> None:
    host = hosts[0]
    made = network(*DUAL)
    boxes = [host.container(made.id, unique("t"), f"10.5.0.{n}/24", f"fd05::{n}/64") for n in (5, 6)]
    full = bring_up(made, hosts, *boxes)
    for address in boxes[1].addresses:
        talk(boxes[0], address, boxes[1])
    assert host.fabric.networks()[made.id].peers == 0
    assert list(hosts[1].fabric.networks()) == []  # nobody there is on it
    assert full.network.id == made.id


def test_every_subnet_of_a_network_reaches_every_other(hosts: tuple[Host, Host]) -> None:
    made = network("10.5.0.0/24", "10.6.0.0/24", "fd05::/64", "fd06::/64")
    first = hosts[0].container(made.id, unique("t"), "10.5.0.5/24", "fd05::5/64")
    second = hosts[1].container(made.id, unique("t"), "10.6.0.5/24", "fd06::5/64")
    third = hosts[1].container(made.id, unique("t"), "10.5.0.6/24")
    full = bring_up(made, hosts, first, second, third)
    for source, target in ((first, second), (second, first), (first, third), (third, first), (second, third)):
        for address in target.addresses:
            if ":" not in address or len(source.addresses) == 2:
                talk(source, address, target)
    names = {link.name for link in overlay_of(hosts[0], full).route.links()}
    assert names == {"lo", "br0", "vx4096", "vx4097", wire_name(first.task)}


def test_a_frame_to_nobody_known_leaves_at_most_once(hosts: tuple[Host, Host]) -> None:
    made = network("10.5.0.0/24", "10.6.0.0/24")
    box = hosts[0].container(made.id, unique("t"), "10.5.0.5/24")
    full = bring_up(made, hosts, box)
    links = {link.name: link for link in overlay_of(hosts[0], full).route.links()}
    assert (links["vx4096"].flooding, links["vx4097"].flooding) == (True, False)


def test_a_network_of_ipv6_alone_has_a_device_of_its_own(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts, "fd05::/64")
    talk(one, two.addresses[0], two)
    assert hosts[0].fabric.networks()[made.network.id].vnis == (4096,)


def test_the_gateway_answers_on_every_host(hosts: tuple[Host, Host]) -> None:
    _, one, two = pair(hosts)
    for box in (one, two):
        assert is_reachable(box, "10.5.0.1")
        assert is_reachable(box, "fd05::1")


def test_networks_do_not_hear_each_other(hosts: tuple[Host, Host]) -> None:
    first, second = network(*DUAL), network(*DUAL, vni=5000)
    one = hosts[0].container(first.id, unique("t"), "10.5.0.5/24")
    two = hosts[1].container(second.id, unique("t"), "10.5.0.6/24")
    tables = {each.id: table(each, hosts, one, two) for each in (first, second)}
    for host in hosts:
        host.fabric.follow(tables, host.id, host.vtep)
    for box, made in ((one, first), (two, second)):
        box.host.fabric.join(tables[made.id], box.join, box.namespace, box.task)
    assert not is_reachable(one, "10.5.0.6", timeout=0.3)


def test_a_container_has_what_was_asked_for(hosts: tuple[Host, Host]) -> None:
    made = network("10.5.0.0/24", "10.6.0.0/24", mtu=1400)
    box = hosts[0].container(made.id, unique("t"), "10.5.0.5/24", interface="eth3")
    bring_up(made, hosts, box)
    link = box.namespace.route.link("eth3")
    assert link is not None
    assert (link.mac, link.mtu, link.up) == (box.join.mac, 1400, True)
    found = {(f"{each.address}/{each.prefix}") for each in box.namespace.route.addresses(link.index)}
    assert found == {"10.5.0.5/24"}  # and no link-local one on a network without IPv6
    assert {each.destination for each in box.namespace.route.routes()} == {"10.5.0.0/24", "10.6.0.0/24"}


@pytest.mark.parametrize(
    ("mtu", "encrypted", "vtep", "expected"),
    [
        (0, False, "172.30.0.1", 1450),
        (0, False, "fd30::1", 1430),
        (0, True, "172.30.0.1", 1416),
        (0, True, "fd30::1", 1396),
        (1234, True, "172.30.0.1", 1234),
    ],
)
def test_the_mtu_leaves_room_for_the_tunnel(mtu: int, encrypted: bool, vtep: str, expected: int) -> None:
    made = network("10.5.0.0/24", mtu=mtu, encrypted=encrypted)
    assert overlay_mtu(made, vtep, 1500) == expected


# -- the table changes ---------------------------------------------------------------------------------
def test_endpoints_that_leave_the_table_are_not_reached_and_others_stay(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    talk(one, "10.5.0.12", two)
    update(only(made, one), hosts[0])
    assert hosts[0].fabric.networks()[made.network.id].peers == 0
    assert not is_reachable(one, "10.5.0.12", timeout=0.3)
    update(only(made, one, two), hosts[0])
    talk(one, "10.5.0.12", two)
    assert hosts[0].fabric.reconcile() == 0


def test_an_address_that_another_container_gets_is_found_there_at_once(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    talk(one, "10.5.0.12", two)  # its hardware address is known to the first container now
    hosts[1].fabric.leave(made.network.id, two.task)
    hosts[1].namespaces.remove(two.namespace.name)
    heir = hosts[0].container(made.network.id, unique("heir"), "10.5.0.12/24", "fd05::12/64")
    later = only(made, one, heir)
    update(later, *hosts)
    hosts[0].fabric.join(later, heir.join, heir.namespace, heir.task)
    assert is_reachable(one, "10.5.0.12", timeout=2)
    talk(one, "10.5.0.12", heir)


def test_a_thousand_peers_come_and_go_in_one_update(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts, "10.5.0.0/16")
    many = {
        f"m{n}": replace(
            two.endpoint(),
            id=f"m{n}",
            addresses=(f"10.5.{n >> 8}.{n & 255}",),
            mac=f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}",
        )
        for n in range(256, 1256)
    }
    update(replace(made, endpoints={**made.endpoints, **many}), hosts[0])
    namespace = overlay_of(hosts[0], made)
    index = namespace.route.link("vx4096")
    assert index is not None
    assert sum(each.permanent for each in namespace.route.neighbours(index.index)) == 1001
    assert len(namespace.route.fdb(index.index)) >= 1001
    assert hosts[0].fabric.reconcile() == 0
    update(made, hosts[0])
    assert hosts[0].fabric.networks()[made.network.id].peers == 1
    assert hosts[0].fabric.reconcile() == 0
    talk(one, two.addresses[0], two)


def test_an_underlay_with_larger_packets_gives_larger_ones(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    for host in hosts:
        ip(host.namespace, "ip", "link", "set", "up0", "mtu", "9000")
        assert host.fabric.reconcile() > 0
        assert host.fabric.networks()[made.network.id].mtu == 8950
        assert host.fabric.reconcile() == 0
    send_whole(one, "10.5.0.12", two, 8950)


def test_a_host_that_gets_another_address_makes_new_devices(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    for host in hosts:
        host.vtep = host.v6
    update(table(made.network, hosts, one, two), *hosts)
    for address in two.addresses:
        talk(one, address, two)


# -- the end -------------------------------------------------------------------------------------------
def test_the_last_container_takes_everything_with_it(tmp_path: Path) -> None:
    before = open_files()
    for hosts in joined_hosts(tmp_path):
        for host in hosts:
            assert host.namespaces.home.route.links()  # the host's own socket stays
        held = open_files()
        made, one, two = pair(hosts)
        for _ in range(5):
            third = hosts[0].container(made.network.id, unique("third"), "10.5.0.33/24")
            hosts[0].fabric.join(made, third.join, third.namespace, third.task)
            hosts[0].fabric.leave(made.network.id, third.task)
            hosts[0].namespaces.remove(third.namespace.name)
            talk(one, "10.5.0.12", two)
            hosts[0].fabric.reconcile()
            names = {link.name for link in overlay_of(hosts[0], made).route.links()}
            assert names == {"lo", "br0", "vx4096", wire_name(one.task)}
        for box in (one, two):
            box.host.fabric.leave(made.network.id, box.task)
            box.host.fabric.leave(made.network.id, box.task)
            box.host.namespaces.remove(box.namespace.name)
            assert box.host.fabric.networks() == {}
            assert box.host.namespaces.names() == set()
            assert {link.name for link in box.host.namespace.route.links()} == {"lo", "up0"}
        assert open_files() == held
        # The VNI is free at once, for a network with another id.
        pair(hosts)
    assert open_files() == before


def test_a_container_that_left_but_lives_is_cut_off(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    third = hosts[0].container(made.network.id, unique("third"), "10.5.0.33/24")
    hosts[0].fabric.join(made, third.join, third.namespace, third.task)
    hosts[0].fabric.leave(made.network.id, third.task)
    assert hosts[0].fabric.reconcile() == 0  # as wanted: no repair
    assert third.namespace.route.link("eth0") is None
    talk(one, "10.5.0.12", two)
