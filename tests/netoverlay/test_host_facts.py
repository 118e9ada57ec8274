"""What a host says of itself: its devices, and rules of others that drop the data path port."""

from __future__ import annotations

import subprocess

import pytest

from netoverlay.host_facts import foreign_drops, host_facts, input_guard
from tests.netoverlay.hosts import Host, network

RULESET = """
table inet corp {
	chain in {
		type filter hook input priority filter; policy accept;
		%s
	}
}
table inet pyswarm {
	chain in {
		udp dport 4789 drop
	}
}
"""


@pytest.mark.parametrize(
    "rule",
    [
        "udp dport 4789 drop",
        "ip saddr 10.0.0.7 udp dport 4789 counter packets 5 bytes 500 drop",
        "udp dport { 53, 4789 } reject",
        "udp dport 4000-5000 drop",
        "udp dport { 1-10, 4700-4800 } drop",
        "meta l4proto { tcp, udp } th dport 4789 drop",
    ],
)
def test_a_rule_that_drops_the_port_is_found(rule: str) -> None:
    assert list(foreign_drops(RULESET % rule, 4789)) == [f"corp in: {rule}"]


@pytest.mark.parametrize(
    "rule",
    [
        "udp dport 4789 accept",
        "udp dport 4790 drop",
        "udp dport { 53, 478 } drop",
        "tcp dport 4789 drop",
        "udp sport 4789 drop",
        "udp dport 5000-6000 drop",
        "udp dport @ports drop",
        "drop",
    ],
)
def test_other_rules_are_nobody_s_fault(rule: str) -> None:
    assert list(foreign_drops(RULESET % rule, 4789)) == []


@pytest.mark.parametrize(
    ("table", "chain", "policy", "guard"),
    [
        ("ip filter", "INPUT", "drop", "filter INPUT"),
        ("inet firewalld", "filter_INPUT", "accept", "firewalld filter_INPUT"),
        ("inet corp", "in", "accept", ""),
        ("inet pyswarm-mesh", "input", "drop", ""),
    ],
)
def test_a_chain_that_lets_in_only_what_it_knows_is_found(
    table: str, chain: str, policy: str, guard: str
) -> None:
    text = f"table {table} {{\n\tchain {chain} {{\n\t\ttype filter hook input priority filter; policy {policy};\n"
    assert input_guard(RULESET % "drop" + text) == guard


@pytest.mark.root
def test_a_host_names_its_device_its_mtus_and_the_rules_of_others(hosts: tuple[Host, Host]) -> None:
    host, _ = hosts
    home, shop = host.namespaces.home, network("10.5.0.0/24")
    found = host_facts(home, host.vtep, shop)
    assert (found.device, found.device_mtu, found.mtu, found.drops) == ("up0", 1500, 1450, ())
    rules = "add table ip corp; add chain ip corp in; add rule ip corp in udp dport 4789 drop"
    subprocess.run(["nsenter", f"--net={host.namespace.path}", "nft", rules], check=True)
    assert host_facts(home, host.vtep, None).drops == ("corp in: udp dport 4789 drop",)
    assert host_facts(home, "192.0.2.1", shop).device == ""
