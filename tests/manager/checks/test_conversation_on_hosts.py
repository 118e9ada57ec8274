"""Whole checks between two hosts with a real overlay: what is broken there is what is found."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_interface
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from netoverlay.containers.vip import balancing
from netoverlay.containers.vip_rules import ContainerRules
from netoverlay.dns.server import DnsServer
from netoverlay.host_facts import host_facts
from netoverlay.netns import Namespace
from swarmcore.clock import RealClock
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.overlay import NetworkTable, OverlayService
from swarmcore.rpc.messages.check import FindingKind, HostFacts, NetworkReport, Outcome
from tests.manager.checks.bench import CheckBench, network, node, service, task
from tests.netoverlay.hosts import Container, Host, joined_hosts, overlay_of, pair, spec, update

pytestmark = pytest.mark.root

K = FindingKind
# The UDP port behind an IPv4 header, which nft does not print as one: a blockade that no host knows of.
UNSEEN = "add rule inet unseen in @nh,176,16 4789 drop"
CHAIN = "add table inet {0}; add chain inet {0} in {{ type filter hook input priority 0; }}"


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    yield from joined_hosts(tmp_path)


class HostProbing:
    """What a worker's networking offers, with one container."""

    def __init__(self, host: Host, box: Container, table: NetworkTable) -> None:
        self.host, self.box, self.table = host, box, table

    async def namespace_for(self, task_id: str) -> Namespace:
        return self.box.namespace if task_id else self.host.namespaces.home

    async def reconcile(self) -> int:
        return await asyncio.to_thread(lambda: int(self.host.fabric.reconcile()))

    async def facts(self, network_id: str) -> HostFacts:
        return await asyncio.to_thread(
            host_facts, self.host.namespaces.home, self.host.vtep, self.table.network
        )


class Lab:
    """Two hosts, a container on each, a service `api` whose replicas these are, and a leader."""

    def __init__(self, hosts: tuple[Host, Host]) -> None:
        self.hosts = hosts
        self.bench = CheckBench(RealClock())
        table, *self.boxes = pair(hosts)
        api = OverlayService(id="api1", name="api", vips=("10.5.0.99",))
        endpoints = {
            key: replace(each, name=f"task-{key}", service_id="api1") for key, each in table.endpoints.items()
        }
        self.table = replace(table, services={"api1": api}, endpoints=endpoints)
        update(self.table, *hosts)
        self.dns = DnsServer(Random(1))

    async def open(self) -> None:
        await self.dns.open()
        self.dns.follow({self.table.network.id: self.table})
        network_id = self.table.network.id
        for box in self.boxes:
            rules = ContainerRules(box.namespace, self.dns.add(spec(box), box.namespace, box.task))
            rules.install()
            rules.balance(balancing({network_id: self.table}, [network_id]))
            self.bench.agent(box.host.id, HostProbing(box.host, box, self.table))
        subnets = [each.subnet for each in self.table.network.subnets]
        await self.bench.put(
            network(network_id, "web", *subnets),
            service("api1", "api", {network_id: "10.5.0.99/24"}, [PortConfig(target_port=8080)]),
            *(node(host.id, host.vtep) for host in self.hosts),
            *(
                task(
                    box.task,
                    box.host.id,
                    {network_id: [str(ip_interface(each)) for each in box.join.addresses]},
                    service_id="api1",
                )
                for box in self.boxes
            ),
        )

    async def check(self) -> NetworkReport:
        report = await self.bench.checks.check(self.table.network.id)
        assert report.seconds < 10
        return report

    async def close(self) -> None:
        await self.bench.close()
        await self.dns.close()
        for box in self.boxes:
            assert sockets_of(box.namespace) == ""


def sockets_of(namespace: Namespace) -> str:
    program = ["nsenter", f"--net={namespace.path}", "ss", "-H", "-t", "-u", "-l"]
    return subprocess.run(program, capture_output=True, text=True, check=True).stdout


def nft(host: Host, *commands: str) -> None:
    program = ["nsenter", f"--net={host.namespace.path}", "nft", "; ".join(commands)]
    subprocess.run(program, check=True)


def ip(namespace: Namespace, *words: str) -> None:
    subprocess.run(["nsenter", f"--net={namespace.path}", *words], check=True)


@pytest.fixture
async def lab(hosts: tuple[Host, Host]) -> AsyncIterator[Lab]:
    made = Lab(hosts)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def outcomes(report: NetworkReport) -> set[Outcome]:
    return {
        outcome
        for each in report.nodes
        if each.report is not None
        for pair in each.report.pairs
        for outcome in (pair.ping, pair.udp, pair.tcp, pair.large_udp, pair.large_tcp)
    }


async def test_a_healthy_network_passes_everything(lab: Lab) -> None:
    report = await lab.check()
    assert [finding.text for finding in report.findings] == []
    assert outcomes(report) == {Outcome.OK}
    for each in report.nodes:
        assert each.report is not None
        assert {pair.address.count(":") > 0 for pair in each.report.pairs} == {True, False}
        assert {pair.mtu for pair in each.report.pairs} == {1450}
        assert [(path.mtu, path.passed) for path in each.report.paths] == [(1500, 1500)]
        names = {name.name: name.addresses for name in each.report.names}
        assert names["api.web"] == ("10.5.0.99",)
        assert names["tasks.api.web"] == ("10.5.0.11", "10.5.0.12")
        assert len(names) == 4
        assert [found.outcome for found in each.report.services] == [Outcome.REFUSED]
        assert (each.report.facts.device, each.report.facts.mtu) == ("up0", 1450)


async def test_a_blocked_port_is_named_with_both_hosts(lab: Lab) -> None:
    for host in lab.hosts:
        nft(host, CHAIN.format("unseen"), UNSEEN)
    report = await lab.check()
    first, *_ = report.findings
    assert first.kind is K.BLOCKED
    assert first.text.endswith("UDP port 4789 is blocked between 172.30.0.1 and 172.30.0.2")
    assert {f.kind for f in report.findings} <= {K.BLOCKED, K.VIP}


async def test_a_port_that_is_blocked_one_way_is_named_with_the_way(lab: Lab) -> None:
    nft(lab.hosts[1], CHAIN.format("unseen"), UNSEEN)
    report = await lab.check()
    assert "UDP port 4789 is blocked from 172.30.0.1 to 172.30.0.2" in report.findings[0].text


async def test_a_firewall_s_rule_is_the_culprit(lab: Lab) -> None:
    nft(lab.hosts[1], CHAIN.format("corp"), "add rule inet corp in udp dport { 53, 4789 } counter drop")
    report = await lab.check()
    assert report.findings[0].kind is K.FIREWALL
    assert (
        "a rule on host-node2 drops UDP port 4789: corp in: udp dport { 53, 4789 }" in report.findings[0].text
    )


async def test_hosts_without_any_way_to_each_other_are_unreachable(lab: Lab) -> None:
    nft(lab.hosts[1], CHAIN.format("unseen"), "add rule inet unseen in iifname up0 drop")
    report = await lab.check()
    assert report.findings[0].kind is K.UNREACHABLE


async def test_a_path_that_is_too_narrow_is_told_with_the_mtu_that_fits(lab: Lab) -> None:
    # The wire's other end takes no more than this and a VLAN's tag, and nobody tells the sender.
    ip(lab.hosts[1].namespace, "ip", "link", "set", "up0", "mtu", "1396")
    report = await lab.check()
    found = next(finding for finding in report.findings if finding.kind is K.MTU)
    assert "small packets pass, large do not" in found.text
    assert "172.30.0.1 to 172.30.0.2 carries packets of 1400 bytes, the overlay needs 1500" in found.text
    assert "mtu=1350" in found.hint
    assert {finding.kind for finding in report.findings} <= {K.MTU, K.STALE}


async def test_entries_that_somebody_removed_are_repaired_and_told(lab: Lab) -> None:
    ip(overlay_of(lab.hosts[0], lab.table), "ip", "neigh", "flush", "all", "nud", "permanent")
    report = await lab.check()
    assert [finding.kind for finding in report.findings] == [K.STALE]
    assert "repaired on host-node1" in report.findings[0].text
    assert (await lab.check()).findings == ()


async def test_names_that_nobody_answers_are_told(lab: Lab) -> None:
    for box in lab.boxes:
        lab.dns.remove(box.task)
    report = await lab.check()
    assert sorted(finding.text for finding in report.findings) == [
        f"names do not resolve on host-node{number}: 127.0.0.11 does not answer" for number in (1, 2)
    ]


async def test_a_virtual_address_that_is_not_translated_is_told(lab: Lab) -> None:
    ip(lab.boxes[1].namespace, "nft", "flush table inet pyswarm")
    report = await lab.check()
    kinds = {(finding.kind, finding.nodes) for finding in report.findings}
    assert kinds == {(K.VIP, ("node2",)), (K.NAMES, ("node2",))}
