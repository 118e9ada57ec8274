"""What results mean: every fault is named, and nothing is said of what works."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manager.checks.diagnosis import Evidence, diagnose, remarks_on
from swarmcore.rpc.messages.check import (
    CheckedNode,
    Finding,
    FindingKind,
    HostFacts,
    NameResult,
    Outcome,
    PairResult,
    PathResult,
    ProbeReport,
    ServiceResult,
)

K = FindingKind
GOOD = dict.fromkeys(("ping", "udp", "tcp", "large_udp", "large_tcp"), Outcome.OK)
SILENT = {
    "ping": Outcome.LOST,
    "udp": Outcome.LOST,
    "tcp": Outcome.LOST,
    "large_udp": Outcome.UNTESTED,
    "large_tcp": Outcome.UNTESTED,
}


class World:
    """Nodes w1, w2, … with 10.0.0.1, 10.0.0.2, … that reach each other, until something is broken."""

    def __init__(self, nodes: int = 3, **facts: Any) -> None:
        self.ids = [f"n{number}" for number in range(1, nodes + 1)]
        self.pairs = {(a, b): dict(GOOD) for a, b in permutations(self.ids, 2)}
        self.paths = dict.fromkeys(self.pairs, 1500)
        self.heard = set(self.pairs)  # (from, at)
        self.facts = {id: HostFacts(device="eth0", device_mtu=1500, mtu=1450, **facts) for id in self.ids}
        self.repairs: dict[str, int] = {}
        self.problems: dict[str, str] = {}
        self.names: dict[str, tuple[NameResult, ...]] = {}
        self.services: dict[str, tuple[ServiceResult, ...]] = {}
        self.expected: dict[str, tuple[frozenset[str], ...]] = {}
        self.host = False

    def breaks(self, a: str, b: str, **outcomes: Outcome) -> None:
        self.pairs[a, b].update(outcomes)

    def silence(self, a: str, b: str, *, arrives: bool = False) -> None:
        self.pairs[a, b] = dict(SILENT)
        if not arrives:
            self.heard.discard((a, b))

    def evidence(self) -> Evidence:
        return Evidence(nodes=tuple(self._node(id) for id in self.ids), host=self.host, names=self.expected)

    def _node(self, id: str) -> CheckedNode:
        node = CheckedNode(
            node_id=id, name=f"w{id[1:]}", vtep=f"10.0.0.{id[1:]}", problem=self.problems.get(id, "")
        )
        if node.problem:
            return node
        report = ProbeReport(
            check_id="c",
            pairs=tuple(
                PairResult(node_id=b, address=f"10.1.0.{b[1:]}", mtu=1450, **outcomes)
                for (a, b), outcomes in self.pairs.items()
                if a == id
            ),
            paths=tuple(
                PathResult(node_id=b, mtu=1500, passed=passed)
                for (a, b), passed in self.paths.items()
                if a == id
            ),
            names=self.names.get(id, ()),
            services=self.services.get(id, ()),
            heard=tuple(a for a, b in sorted(self.heard) if b == id),
            repairs=self.repairs.get(id, 0),
            facts=self.facts[id],
        )
        return replace(node, report=report)

    def found(self) -> list[tuple[FindingKind, str]]:
        return [(finding.kind, finding.text) for finding in diagnose(self.evidence())]

    def only(self) -> tuple[FindingKind, str]:
        (finding,) = self.found()
        return finding


@pytest.mark.parametrize("nodes", [0, 1, 2, 5])
def test_where_everything_works_nothing_is_found(nodes: int) -> None:
    assert World(nodes).found() == []


def test_a_port_that_is_blocked_both_ways_is_one_finding() -> None:
    world = World()
    world.silence("n1", "n2")
    world.silence("n2", "n1")
    kind, text = world.only()
    assert kind is K.BLOCKED
    assert text == "w1 <-> w2: nothing arrives: UDP port 4789 is blocked between 10.0.0.1 and 10.0.0.2"


def test_the_direction_that_is_blocked_is_named() -> None:
    world = World()
    world.silence("n1", "n2")
    world.silence("n2", "n1", arrives=True)
    kind, text = world.only()
    assert kind is K.BLOCKED
    assert text.endswith("UDP port 4789 is blocked from 10.0.0.1 to 10.0.0.2")
    world = World()
    world.silence("n1", "n2", arrives=True)
    world.silence("n2", "n1")
    assert world.only()[1].endswith("answers do not: UDP port 4789 is blocked from 10.0.0.2 to 10.0.0.1")


def test_hosts_that_do_not_reach_each_other_at_all_are_told_from_a_blocked_port() -> None:
    world = World()
    for ends in (("n1", "n2"), ("n2", "n1")):
        world.silence(*ends)
        world.paths[ends] = 0
    assert world.only() == (
        K.UNREACHABLE,
        "w1 <-> w2: nothing arrives, and 10.0.0.2 does not answer pings from 10.0.0.1 either",
    )


def test_a_rule_that_drops_the_port_is_the_culprit_where_nothing_arrives() -> None:
    world = World()
    world.facts["n2"] = replace(world.facts["n2"], drops=("filter INPUT: udp dport 4789 drop",))
    assert world.found() == []
    world.silence("n1", "n2")
    world.silence("n2", "n1", arrives=True)
    kind, text = world.only()
    assert kind is K.FIREWALL
    assert "a rule on w2 drops UDP port 4789: filter INPUT: udp dport 4789 drop" in text


def cut_off(world: World, node: str) -> None:
    for a, b in world.pairs:
        if node in (a, b):
            world.silence(a, b)


def test_a_node_that_nobody_reaches_is_named_once() -> None:
    world = World(5)
    cut_off(world, "n4")
    kind, text = world.only()
    assert kind is K.BLOCKED
    assert text == (
        "w4: nothing passes between it and any other node: UDP port 4789 is blocked to and from 10.0.0.4"
    )


def test_a_node_that_nobody_even_pings_is_unreachable() -> None:
    world = World(4)
    cut_off(world, "n4")
    world.paths = {ends: 0 if "n4" in ends else 1500 for ends in world.paths}
    assert world.only()[0] is K.UNREACHABLE


def test_where_nobody_reaches_anybody_every_pair_is_told() -> None:
    world = World(3)
    for ends in world.pairs:
        world.silence(*ends)
    assert [kind for kind, _ in world.found()] == [K.BLOCKED] * 3


def test_a_path_that_is_narrower_than_the_overlay_is_told_with_the_mtu_that_fits() -> None:
    world = World()
    world.breaks("n1", "n2", large_udp=Outcome.LOST, large_tcp=Outcome.LOST)
    world.paths["n1", "n2"] = 1400
    (finding,) = diagnose(world.evidence())
    assert finding.kind is K.MTU
    assert finding.text == (
        "w1 -> w2: small packets pass, large do not: MTU: 10.0.0.1 to 10.0.0.2 carries packets of 1400 bytes, "
        "the overlay needs 1500"
    )
    assert "mtu=1350" in finding.hint


def test_overlays_of_two_sizes_are_told() -> None:
    world = World()
    world.facts["n2"] = replace(world.facts["n2"], mtu=1400)
    world.breaks("n1", "n2", large_udp=Outcome.LOST, large_tcp=Outcome.LOST)
    kind, text = world.only()
    assert kind is K.MTU
    assert text.endswith("the overlay's MTU is 1450 on w1 and 1400 on w2")


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.TOO_LARGE])
def test_large_packets_that_vanish_for_no_known_reason_are_a_matter_of_mtu(outcome: Outcome) -> None:
    world = World()
    world.breaks("n1", "n2", large_udp=outcome, large_tcp=Outcome.LOST)
    assert world.only()[0] is K.MTU


def test_large_tcp_that_fails_alone_is_segmentation() -> None:
    world = World()
    world.breaks("n1", "n2", large_tcp=Outcome.LOST)
    (finding,) = diagnose(world.evidence())
    assert finding.kind is K.OFFLOAD
    assert "segmentation" in finding.text
    assert "ethtool -K eth0 tx-udp_tnl-segmentation off" in finding.hint


@pytest.mark.parametrize("probe", ["udp", "tcp", "large_udp", "large_tcp"])
def test_contents_that_change_on_the_way_are_offload(probe: str) -> None:
    world = World()
    world.breaks("n1", "n2", **{probe: Outcome.DAMAGED})
    kind, text = world.only()
    assert kind is K.OFFLOAD
    assert "damaged" in text


def test_pings_alone_between_containers_are_wrong_checksums() -> None:
    world = World()
    world.breaks("n1", "n2", **(SILENT | {"ping": Outcome.OK}))
    kind, text = world.only()
    assert kind is K.OFFLOAD
    assert text.startswith("w1 -> w2: pings pass, UDP and TCP do not")


def test_pings_alone_between_hosts_are_a_firewall() -> None:
    world = World()
    world.host = True
    world.breaks("n1", "n2", **(SILENT | {"ping": Outcome.OK}))
    kind, text = world.only()
    assert kind is K.FIREWALL
    assert text.endswith("pings pass, UDP and TCP do not: a firewall on w2 keeps them off")


@pytest.mark.parametrize("outcome", [Outcome.LOST, Outcome.REFUSED])
def test_a_host_that_takes_in_only_what_its_firewall_knows_is_no_fault(outcome: Outcome) -> None:
    world = World()
    world.host = True
    world.facts["n2"] = replace(world.facts["n2"], guard="filter INPUT")
    untested = dict.fromkeys(("large_udp", "large_tcp"), Outcome.UNTESTED)
    for other in ("n1", "n3"):
        world.breaks(other, "n2", udp=outcome, tcp=outcome, **untested)
    assert world.found() == []
    (remark,) = remarks_on(world.evidence())
    assert remark.startswith("the firewall of w2 (filter INPUT) lets only the pings of this check in")
    # Between containers nothing passes that chain, and without pings nothing is known.
    world.host = False
    assert {kind for kind, _ in world.found()} != set()
    assert remarks_on(world.evidence()) == ()
    world.host = True
    world.breaks("n1", "n2", ping=Outcome.LOST)
    assert world.found() != []


def test_pings_that_alone_are_lost_are_no_fault() -> None:
    world = World()
    world.breaks("n1", "n2", ping=Outcome.LOST)
    assert world.found() == []


def test_pairs_that_there_was_no_time_for_are_told() -> None:
    world = World()
    world.pairs["n1", "n2"] = dict.fromkeys(GOOD, Outcome.UNTESTED)
    assert world.only() == (K.UNTESTED, "w1 -> w2: was not tested in time")


def test_a_node_that_took_no_part_is_told_with_its_reason() -> None:
    world = World()
    world.problems["n3"] = "it did not answer in time"
    world.pairs = {ends: outcomes for ends, outcomes in world.pairs.items() if "n3" not in ends}
    assert world.only() == (K.ABSENT, "w3 took no part: it did not answer in time")


def test_repairs_are_stale_entries() -> None:
    world = World()
    world.repairs = {"n1": 1, "n2": 7}
    assert world.found() == [
        (K.STALE, "1 stale entry was found and repaired on w1"),
        (K.STALE, "7 stale entries were found and repaired on w2"),
    ]


def name(outcome: Outcome = Outcome.OK, *addresses: str, of: str = "api.shop", partial: bool = False) -> Any:
    return NameResult(name=of, outcome=outcome, addresses=addresses, partial=partial)


def test_a_resolver_that_is_silent_is_named_once() -> None:
    world = World(2)
    world.expected = {"api.shop": (frozenset({"10.1.0.9"}),), "tasks.api.shop": (frozenset(),)}
    world.names["n2"] = (name(Outcome.LOST), name(Outcome.REFUSED, of="tasks.api.shop"))
    assert world.only() == (K.NAMES, "names do not resolve on w2: 127.0.0.11 does not answer")


def test_a_wrong_address_is_stale_and_a_missing_one_is_not() -> None:
    world = World(2)
    world.expected = {"api.shop": (frozenset({"10.1.0.9"}),)}
    world.names["n1"] = (name(Outcome.OK, "10.1.0.9"),)
    world.names["n2"] = (name(Outcome.OK, "10.1.0.3"),)
    assert world.only() == (K.STALE, "api.shop resolves to 10.1.0.3 on w2, not to 10.1.0.9")
    world.names["n2"] = (name(Outcome.OK),)
    assert world.only() == (K.NAMES, "api.shop resolves to nothing on w2, not to 10.1.0.9")


def test_what_was_right_before_or_after_the_check_is_right() -> None:
    world = World(2)
    world.expected = {"api.shop": (frozenset({"10.1.0.9"}), frozenset({"10.1.0.8"}))}
    world.names["n1"] = (name(Outcome.OK, "10.1.0.8"),)
    world.names["n2"] = (name(Outcome.OK, "10.1.0.9"),)
    assert world.found() == []


def test_an_answer_that_was_cut_need_not_be_whole() -> None:
    world = World(2)
    world.expected = {"api.shop": (frozenset({"10.1.0.9", "10.1.0.8"}),)}
    world.names["n1"] = (name(Outcome.OK, "10.1.0.8", partial=True),)
    assert world.found() == []
    world.names["n1"] = (name(Outcome.OK, "10.1.0.8"),)
    assert world.only()[0] is K.NAMES


def vip(outcome: Outcome) -> ServiceResult:
    return ServiceResult(name="api", vip="10.1.0.9", port=80, outcome=outcome)


def test_a_virtual_address_must_be_answered_but_may_refuse() -> None:
    world = World(2)
    world.services["n1"] = (vip(Outcome.REFUSED), vip(Outcome.OK))
    assert world.found() == []
    world.services["n1"] = (vip(Outcome.LOST),)
    assert world.only() == (K.VIP, "the virtual address 10.1.0.9 of api does not answer from w1")


outcomes = st.fixed_dictionaries({probe: st.sampled_from(list(Outcome)) for probe in GOOD})


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World(draw(st.integers(2, 5)))
    world.host = draw(st.booleans())
    for ends in draw(st.sets(st.sampled_from(sorted(world.pairs)))):
        world.pairs[ends] = draw(outcomes)
        world.paths[ends] = draw(st.sampled_from([0, 1280, 1500]))
        if draw(st.booleans()):
            world.heard.discard(ends)
    for id in draw(st.sets(st.sampled_from(world.ids))):
        world.facts[id] = draw(
            st.sampled_from(
                [HostFacts(), HostFacts(mtu=1400), HostFacts(drops=("x y: udp dport 4789 drop",))]
            )
        )
    return world


def broken(outcomes: dict[str, Outcome]) -> bool:
    """A lost ping alone is no fault, but one whose contents are damaged is."""
    failed = {probe for probe in GOOD if outcomes[probe] not in (Outcome.OK, Outcome.UNTESTED)}
    silent = not any(outcomes[probe] in (Outcome.OK, Outcome.REFUSED) for probe in ("ping", "udp", "tcp"))
    return bool(failed - {"ping"}) or outcomes["ping"] is Outcome.DAMAGED or (bool(failed) and silent)


@given(worlds())
def test_every_probe_that_failed_is_in_a_finding_that_names_both_nodes(world: World) -> None:
    findings = diagnose(world.evidence())
    for (a, b), outcomes in world.pairs.items():
        assert not broken(outcomes) or any({a, b} <= set(finding.nodes) for finding in findings)


@given(worlds())
def test_findings_name_only_nodes_with_failures_and_say_each_thing_once(world: World) -> None:
    findings = diagnose(world.evidence())
    untested = [ends for ends, found in world.pairs.items() if found["ping"] is Outcome.UNTESTED]
    concerned = {id for ends, found in world.pairs.items() if broken(found) for id in ends}
    concerned |= {id for ends in untested for id in ends}
    assert {id for finding in findings for id in finding.nodes} <= concerned
    assert len(findings) == len(set(findings))
    assert all(finding.text and "\n" not in finding.text for finding in findings)


@given(worlds())
def test_the_same_results_always_give_the_same_findings(world: World) -> None:
    def key(finding: Finding) -> tuple[str, ...]:
        return (finding.text, finding.kind)

    assert diagnose(world.evidence()) == diagnose(world.evidence())
    before = sorted(diagnose(world.evidence()), key=key)
    world.pairs = dict(reversed(world.pairs.items()))
    after = sorted(diagnose(world.evidence()), key=key)
    assert [f.kind for f in before] == [f.kind for f in after]
