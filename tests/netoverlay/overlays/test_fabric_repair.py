"""Overlays that were damaged by hand, and daemons that were killed: the kernel is brought back to the table."""

from __future__ import annotations

import errno
import random

import pytest
from msgspec.structs import replace

from netoverlay.netlink.batch import RouteBatch
from netoverlay.netns import Namespace
from netoverlay.overlays.wires import wire_name
from swarmcore.errors import FailedPrecondition
from swarmcore.model.overlay import NetworkTable
from tests.netoverlay.hosts import (
    Container,
    Host,
    bring_up,
    eventually,
    ip,
    is_reachable,
    network,
    only,
    overlay_of,
    pair,
    send_whole,
    spec,
    table,
    talk,
    unique,
    update,
)

pytestmark = pytest.mark.root


# -- things go wrong -----------------------------------------------------------------------------------
def random_damage(rng: random.Random, namespace: Namespace, vteps: tuple[str, ...]) -> None:
    link = namespace.route.link("vx4096")
    assert link is not None
    batch = RouteBatch()
    for neighbour in namespace.route.neighbours(link.index):
        if rng.random() < 0.3:
            batch.delete_neighbour(link.index, neighbour.address)
    for entry in namespace.route.fdb(link.index):
        if entry.own and rng.random() < 0.3:
            batch.delete_fdb(link.index, entry.mac, entry.vtep if rng.random() < 0.5 else "")
    for _ in range(rng.randrange(20)):
        mac = f"02:00:00:00:00:{rng.randrange(40):02x}"
        address = (
            f"10.5.0.{rng.randrange(1, 60)}" if rng.random() < 0.7 else f"fd05::{rng.randrange(1, 60):x}"
        )
        batch.put_neighbour(link.index, address, mac)
        batch.put_fdb(link.index, mac, rng.choice(vteps))
    namespace.route.commit(batch, ignore=(errno.ENOENT,))
    for _ in range(3):
        mac, vtep = f"02:00:00:00:00:{rng.randrange(40):02x}", rng.choice(vteps)
        verb = rng.choice(["append", "replace"])
        ip(
            namespace,
            "bridge",
            "fdb",
            verb,
            mac,
            "dev",
            "vx4096",
            "dst",
            vtep,
            "self",
            rng.choice(["permanent", "static"]),
        )
    ip(namespace, "ip", "neighbour", "replace", f"10.5.0.{rng.randrange(1, 60)}", "lladdr", "02:00:00:00:00:77",
       "dev", "vx4096", "nud", rng.choice(["reachable", "stale", "permanent"]))  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_to_the_entries_is_repaired_at_once(hosts: tuple[Host, Host], seed: int) -> None:
    rng = random.Random(seed)
    made, one, two = pair(hosts)
    more = {
        f"m{n}": replace(
            two.endpoint(),
            id=f"m{n}",
            addresses=(f"10.5.0.{n}", f"fd05::{n:x}"),
            mac=f"02:00:00:00:00:{n:02x}",
        )
        for n in range(20, 40)
    }
    update(replace(made, endpoints={**made.endpoints, **more}), hosts[0])
    namespace = overlay_of(hosts[0], made)
    for _ in range(3):
        random_damage(rng, namespace, ("172.30.0.2", "172.30.0.3"))
        # Our own socket did some of it, which is no news to us: as if the daemon had been away.
        ip(namespace, "ip", "neighbour", "flush", "dev", "vx4096", "nud", "permanent")
        assert hosts[0].fabric.reconcile() > 0
        assert hosts[0].fabric.reconcile() == 0
    for address in two.addresses:
        talk(one, address, two)
    assert hosts[0].fabric.networks()[made.network.id].repairs > 0


def test_differences_are_counted(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    namespace = overlay_of(hosts[0], made)
    ip(namespace, "ip", "neighbour", "delete", "10.5.0.12", "dev", "vx4096")
    assert hosts[0].fabric.reconcile() == 1
    ip(namespace, "bridge", "fdb", "delete", two.join.mac, "dev", "vx4096", "dst", "172.30.0.2")
    ip(namespace, "bridge", "fdb", "append", "02:00:00:00:00:99", "dev", "vx4096", "dst", "172.30.0.9")
    ip(
        namespace,
        "ip",
        "-6",
        "neighbour",
        "replace",
        "fd05::12",
        "lladdr",
        "02:00:00:00:00:01",
        "dev",
        "vx4096",
    )
    assert hosts[0].fabric.reconcile() == 3
    assert hosts[0].fabric.reconcile() == 0
    talk(one, "fd05::12", two)


@pytest.mark.parametrize(
    "damage",
    [
        "ip link delete vx4096",
        "ip link delete br0",
        "ip link delete WIRE",
        "ip link set WIRE nomaster",
        "ip link set vx4096 nomaster",
        "ip link set vx4096 down",
        "ip link set br0 down",
        "ip link set WIRE down",
        "ip link set vx4096 name vxother",
        "ip link set br0 mtu 1280",
        "ip link set vx4096 mtu 1280",
        "ip link set WIRE mtu 1280",
        "ip link set br0 address 02:11:11:11:11:11",
        "ip address flush dev br0",
        "ip address add 10.99.0.1/24 dev br0",
        "ip link set vx4096 type vxlan learning",
        "ip link add vx77 type vxlan id 77 dstport 4789",
        "ip link add vffffffffffff type veth peer name x",
    ],
)
def test_devices_that_were_changed_by_hand_are_repaired(hosts: tuple[Host, Host], damage: str) -> None:
    made, one, two = pair(hosts)
    namespace = overlay_of(hosts[0], made)
    hosts[0].fabric.reconcile()
    ip(namespace, *damage.replace("WIRE", wire_name(one.task)).split())
    assert hosts[0].fabric.reconcile() > 0
    for address in two.addresses:
        talk(one, address, two)
        talk(two, one.addresses[two.addresses.index(address)], one)
        send_whole(one, address, two, 1450)
    assert is_reachable(one, "10.5.0.1")
    eventually(lambda: hosts[0].fabric.reconcile() == 0, "nothing more to repair")
    names = {link.name for link in namespace.route.links()}
    assert names - {"x"} == {"lo", "br0", "vx4096", wire_name(one.task)}


def test_an_update_that_meets_a_missing_device_makes_it_again(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    ip(overlay_of(hosts[0], made), "ip", "link", "delete", "vx4096")
    other = replace(two.endpoint(), id="other", addresses=("10.5.0.99",), mac="02:00:00:00:00:99")
    update(replace(made, endpoints={**made.endpoints, "other": other}), hosts[0])
    talk(one, "10.5.0.12", two)


def test_joining_where_the_bridge_is_missing_makes_it_again(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    ip(overlay_of(hosts[0], made), "ip", "link", "delete", "br0")
    third = hosts[0].container(made.network.id, unique("third"), "10.5.0.33/24")
    later = only(made, one, two, third)
    update(later, hosts[1])
    hosts[0].fabric.join(later, third.join, third.namespace, third.task)
    talk(third, "10.5.0.12", two)
    talk(one, "10.5.0.12", two)


def test_a_quiet_network_is_looked_at_only_once_in_a_while(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    eventually(lambda: hosts[0].fabric.reconcile() == 0, "rest")
    namespace = overlay_of(hosts[0], made)
    link = namespace.route.link("vx4096")
    assert link is not None
    batch = RouteBatch()
    batch.delete_neighbour(link.index, "10.5.0.12")
    namespace.route.commit(batch)  # by our own socket, of which the kernel's notices are no news
    found = [hosts[0].fabric.reconcile() for _ in range(60)]
    assert found[:10] == [0] * 10
    assert sum(found) == 1
    talk(one, "10.5.0.12", two)


# -- daemons come and go -------------------------------------------------------------------------------
def adopted(host: Host, made: NetworkTable, *boxes: Container) -> None:
    """The host's daemon was killed and started again."""
    names = [each.namespace.name for each in boxes]
    host.restart()
    for each, name in zip(boxes, names, strict=True):
        each.namespace = host.namespaces.open(name)
    host.fabric.adopt([spec(each) for each in boxes], {each.task: each.namespace for each in boxes})
    host.fabric.follow({made.network.id: made}, host.id, host.vtep)


def test_a_killed_daemon_is_followed_by_one_that_changes_nothing(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    before = ip(overlay_of(hosts[0], made), "ip", "-d", "link") + ip(one.namespace, "ip", "address")
    hosts[0].fabric.close()
    adopted(hosts[0], made, one)
    hosts[0].fabric.join(made, one.join, one.namespace, one.task)
    after = ip(overlay_of(hosts[0], made), "ip", "-d", "link") + ip(one.namespace, "ip", "address")
    assert strip_timers(before.replace("NO-CARRIER,", "")) == strip_timers(after.replace("NO-CARRIER,", ""))
    talk(one, "10.5.0.12", two)
    assert hosts[0].fabric.reconcile() == 0


def strip_timers(shown: str) -> list[str]:
    return [word for word in shown.split() if "." not in word or "/" in word]


def test_what_changed_while_the_daemon_was_dead_is_caught_up(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    namespace = overlay_of(hosts[0], made)
    ip(namespace, "ip", "link", "delete", wire_name(one.task))
    ip(namespace, "ip", "neighbour", "flush", "dev", "vx4096", "nud", "permanent")
    hosts[0].fabric.close()
    adopted(hosts[0], made, one)
    for address in two.addresses:
        talk(one, address, two)


def test_namespaces_that_no_living_container_needs_are_removed_at_the_start(hosts: tuple[Host, Host]) -> None:
    made, one, two = pair(hosts)
    other = network("10.7.0.0/24", vni=4100)
    lost = hosts[0].container(other.id, unique("lost"), "10.7.0.5/24")
    bring_up(other, (hosts[0],), lost)
    hosts[0].fabric.close()
    adopted(hosts[0], made, one)
    assert {name for name in hosts[0].namespaces.names() if name.startswith("ov-")} == {
        overlay_of(hosts[0], made).name
    }
    bring_up(
        other, (hosts[0],), hosts[0].container(other.id, unique("again"), "10.7.0.6/24")
    )  # its VNI is free


def test_a_vni_that_a_lost_network_holds_is_taken_back(hosts: tuple[Host, Host]) -> None:
    old, new = network("10.5.0.0/24"), network("10.6.0.0/24")
    bring_up(old, (hosts[0],), hosts[0].container(old.id, unique("t"), "10.5.0.5/24"))
    hosts[0].fabric.close()
    hosts[0].restart()
    one = hosts[0].container(new.id, unique("t"), "10.6.0.5/24")
    two = hosts[1].container(new.id, unique("t"), "10.6.0.6/24")
    bring_up(new, hosts, one, two)
    talk(one, "10.6.0.6", two)


def test_a_vni_of_another_program_is_left_to_it_and_named(
    hosts: tuple[Host, Host],
) -> None:
    ip(hosts[0].namespace, "ip", "link", "add", "docker-vx", "type", "vxlan", "id", "4096", "dstport", "4789")
    made = network("10.5.0.0/24")
    box = hosts[0].container(made.id, unique("t"), "10.5.0.5/24")
    with pytest.raises(FailedPrecondition, match="VXLAN id 4096 on UDP port 4789 is in use"):
        bring_up(made, hosts, box)
    assert hosts[0].namespace.route.link("docker-vx") is not None
    hosts[0].fabric.leave(made.id, box.task)
    assert hosts[0].fabric.networks() == {}
    assert hosts[0].namespaces.names() == {box.namespace.name}


def test_two_networks_of_one_vni_do_not_take_it_from_each_other(
    hosts: tuple[Host, Host],
) -> None:
    made, one, two = pair(hosts)
    wrong = network("10.8.0.0/24")
    with pytest.raises(FailedPrecondition, match="4096"):
        bring_up(wrong, (hosts[0],), hosts[0].container(wrong.id, unique("t"), "10.8.0.5/24"))
    talk(one, "10.5.0.12", two)
    assert made.network.id in hosts[0].fabric.networks()


def test_without_the_data_path_address_nothing_is_begun(hosts: tuple[Host, Host]) -> None:
    made = network("10.5.0.0/24")
    box = hosts[0].container(made.id, unique("t"), "10.5.0.5/24")
    full = table(made, hosts, box)
    with pytest.raises(FailedPrecondition, match="no data path address yet"):
        hosts[0].fabric.join(full, box.join, box.namespace, box.task)
    hosts[0].fabric.follow({made.id: full}, hosts[0].id, "192.0.2.1")
    with pytest.raises(FailedPrecondition, match=r"192\.0\.2\.1"):
        hosts[0].fabric.join(full, box.join, box.namespace, box.task)
    assert hosts[0].namespaces.names() == {box.namespace.name}
    hosts[0].fabric.follow({made.id: full}, hosts[0].id, hosts[0].vtep)
    hosts[0].fabric.join(full, box.join, box.namespace, box.task)
