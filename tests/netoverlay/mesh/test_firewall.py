"""Other firewalls on the host: theirs are opened for us and nothing else of them is touched; the user's chain rules."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netoverlay.hosts import ip
from tests.netoverlay.mesh.hosts import CLIENT, TARGET, Box, World, ask, is_reachable, worlds
from tests.netoverlay.nft.listing import nft

pytestmark = pytest.mark.root
# As iptables-nft and Docker leave it.
IPTABLES = """
table {family} filter {{
  chain INPUT {{ type filter hook input priority 0; policy accept; }}
  chain DOCKER {{ counter return; }}
  chain FORWARD {{ type filter hook forward priority 0; policy drop; counter jump DOCKER; }}
}}
"""
NATIVE = """
table inet mine {
  chain through { type filter hook forward priority 10; policy drop; ct state established accept; }
}
"""
FIREWALLD = """
table inet firewalld {
  chain filter_FORWARD { type filter hook forward priority 10; policy accept; reject with icmpx admin-prohibited; }
}
"""
BOTH = IPTABLES.format(family="ip") + IPTABLES.format(family="ip6")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    yield from worlds(tmp_path)


@pytest.fixture
def box(world: World) -> Box:
    made = world.hosts[1].box("b2", 22)
    world.publish(made)
    return made


@pytest.mark.parametrize("rules", [BOTH, NATIVE, FIREWALLD], ids=["iptables", "nft", "firewalld"])
def test_a_firewall_that_drops_what_is_forwarded_is_opened_for_us(world: World, box: Box, rules: str) -> None:
    for host in world.hosts[:2]:
        nft(host.home, rules)
        assert host.rules.reconcile() > 0
        host.rules.reconcile()
        assert host.rules.reconcile() == 0
    for version in (4, 6):
        assert ask(world.client, world.hosts[0].address(version)) == ("b2", CLIENT[version])


def test_it_is_opened_again_after_it_was_reloaded(world: World, box: Box) -> None:
    host = world.hosts[0]
    nft(host.home, BOTH)
    host.rules.reconcile()
    nft(host.home, "delete table ip filter\ndelete table ip6 filter\n" + BOTH)
    assert host.rules.reconcile() > 0
    nft(host.home, "flush chain ip filter PYSWARM-FWD")
    assert host.rules.reconcile() > 0
    assert ask(world.client, host.v4) == ("b2", CLIENT[4])
    assert nft(host.home, "list chain ip filter FORWARD").count("PYSWARM-FWD") == 1


def test_nothing_else_of_it_is_touched_and_nothing_of_ours_is_left(world: World, box: Box) -> None:
    host = world.hosts[0]
    nft(host.home, BOTH + NATIVE)
    before = [nft(host.home, f"list table {each}") for each in ("ip filter", "ip6 filter", "inet mine")]
    host.rules.reconcile()
    host.rules.close(remove=True)
    after = [nft(host.home, f"list table {each}") for each in ("ip filter", "ip6 filter", "inet mine")]
    assert [_without_counters(each) for each in after] == [_without_counters(each) for each in before]
    assert "pyswarm" not in nft(host.home, "list ruleset").lower()


def _without_counters(listed: str) -> list[str]:
    return [line.partition("counter packets")[0] for line in listed.splitlines()]


@pytest.mark.skipif(shutil.which("iptables-nft") is None, reason="no iptables-nft")
def test_iptables_lists_and_restores_what_we_put_there(world: World, box: Box) -> None:
    host = world.hosts[0]
    ip(host.home, *["iptables-nft", "-P", "FORWARD", "DROP"])
    host.rules.reconcile()
    listed = ip(host.home, "iptables-nft", "-S")
    assert "-j PYSWARM-FWD" in listed
    assert "-A PYSWARM-FWD -i gv+" in listed
    ip(host.home, "sh", "-c", "iptables-nft-save | iptables-nft-restore")
    host.rules.reconcile()
    assert ip(host.home, "iptables-nft", "-S", "FORWARD").count("PYSWARM-FWD") == 1
    assert ask(world.client, host.v4) == ("b2", CLIENT[4])


def test_the_administrators_rules_count_and_survive_everything(world: World, box: Box) -> None:
    host = world.hosts[0]
    ours = f"ip saddr {CLIENT[4]} meta l4proto tcp ct original proto-dst 8080 drop"
    nft(host.home, f"add rule inet pyswarm-user forward {ours}")
    for _ in range(2):
        assert not is_reachable(world.client, host.v4, 8080, timeout=0.3)
        assert ask(world.client, host.v6) == ("b2", CLIENT[6])
        host.restart()
        host.rules.follow(world.table, host.id)
        host.rules.reconcile()
    host.rules.close(remove=True)
    assert "drop" in nft(host.home, "list chain inet pyswarm-user forward")


def test_the_administrators_chain_comes_back_when_it_was_deleted(world: World, box: Box) -> None:
    host = world.hosts[0]
    nft(host.home, "delete table inet pyswarm-user")
    assert host.rules.reconcile() > 0
    assert "hook forward" in nft(host.home, "list chain inet pyswarm-user forward")


def test_what_is_not_published_is_not_reached_by_routing_through_the_host(world: World, box: Box) -> None:
    """A neighbour that makes itself a route to a container's address."""
    ip(world.client, *f"ip route add 10.0.0.22 via {world.hosts[1].v4} onlink dev eth0".split())
    ip(world.switch, *f"ip route add 10.0.0.22 via {world.hosts[1].v4}".split())
    assert not is_reachable(world.client, "10.0.0.22", TARGET, timeout=0.3)
