"""One kept table: whatever the way to a state, the kernel ends with the same rules, and damage is repaired."""

from __future__ import annotations

import os
import re
import socket
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netoverlay.netns import Namespace, Namespaces
from netoverlay.nft import dump, expr, match, types
from netoverlay.nft.keeper import KeptTable
from netoverlay.nft.plan import Plans, plan
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Part, Rule, merged, rule
from netoverlay.nft.types import INTEGER, IPV4, VERDICT, ip
from netoverlay.nft.wire import Family
from tests.netoverlay.nft.listing import listed, nft

pytestmark = pytest.mark.root
INET, TABLE = Family.INET, "pyswarm"
FRAME = Part(
    chains={
        "out": Chain(
            (rule(match.family(Family.IPV4), expr.ip_target(), expr.decided("vips")),),
            Base(kind="nat", hook=Hook.OUTPUT, priority=-100),
        )
    },
    sets={"vips": NamedSet(key=IPV4, value=VERDICT)},
)


def drop_port(number: int) -> Rule:
    return rule(match.target_port(number, match.TCP), expr.verdict(types.DROP), note=f"port {number}")


def service(number: int, targets: int) -> Part:
    addresses = {types.mark(place): ip(f"10.5.{number}.{place + 10}") for place in range(targets)}
    chosen = expr.mapped(types.anonymous_map(INTEGER, IPV4, addresses))
    return Part(
        chains={f"svc{number}": Chain((rule(expr.random(targets), chosen, expr.dnat(Family.IPV4)),))},
        elements={"vips": {ip(f"10.5.0.{number}"): types.goto(f"svc{number}")}},
    )


def ports(*numbers: int) -> Part:
    return Part(chains={"ports": Chain(tuple(drop_port(each) for each in numbers))})


def kept(namespace: Namespace) -> KeptTable:
    return KeptTable(namespace.nft, Plans(INET, TABLE))


def found(namespace: Namespace) -> Part:
    table = dump.read(namespace.nft, INET, TABLE).found
    assert table is not None
    return table.part


STATES = st.lists(
    st.tuples(
        st.dictionaries(st.integers(1, 4), st.integers(1, 4), max_size=4),
        st.lists(st.integers(1, 6), max_size=5),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(states=STATES, damage=st.integers(0, 3))
def test_any_sequence_of_changes_ends_like_a_fresh_table(
    states: list[tuple[dict[int, int], list[int]]], damage: int
) -> None:
    with TemporaryDirectory() as directory:
        namespaces = Namespaces(Path(directory) / "netns")
        try:
            changed = namespaces.create(f"nft-{uuid.uuid4().hex[:8]}")
            fresh = namespaces.create(f"nft-{uuid.uuid4().hex[:8]}")
            table = kept(changed)
            parts: dict[int, tuple[int, Part]] = {}
            for place, (services, numbers) in enumerate(states):
                wanted = {number: (count, service(number, count)) for number, count in services.items()}
                parts = {
                    number: parts[number] if number in parts and parts[number][0] == count else (count, part)
                    for number, (count, part) in wanted.items()
                }
                value = [FRAME, ports(*numbers), *(part for _, part in parts.values())]
                table.keep(value)
                if damage and place == len(states) - 1:
                    if damage == 1:
                        nft(changed, "flush chain inet pyswarm out")
                    elif damage == 2:
                        nft(changed, "flush ruleset")
                    else:
                        nft(changed, "insert rule inet pyswarm ports drop; add chain inet pyswarm foreign")
                    assert table.reconcile() > 0
                assert table.reconcile() == 0
            kept(fresh).keep(value)
            assert listed(changed) == listed(fresh)
            difference = plan(INET, TABLE, found(changed), merged(value))
            assert (difference.first, difference.differences) == (None, 0)
        finally:
            for name in namespaces.names():
                namespaces.remove(name)
            namespaces.close()


DAMAGE = {
    "a rule of a service is deleted": "flush chain inet pyswarm svc1",
    "an element is deleted": "delete element inet pyswarm vips { 10.5.0.1 }",
    "an element leads elsewhere": "delete element inet pyswarm vips { 10.5.0.1 }\n"
    "add element inet pyswarm vips { 10.5.0.1 : goto svc2 }",
    "an element is added": "add element inet pyswarm vips { 10.5.0.77 : drop }",
    "a rule is added": "add rule inet pyswarm svc1 drop",
    "a rule is put first": "insert rule inet pyswarm out drop",
    "a chain is added": "add chain inet pyswarm more { type filter hook input priority 0; policy drop; }",
    "a set is added": "add set inet pyswarm more { type ipv4_addr; }",
    "the policy is changed": "add chain inet pyswarm out { policy drop; }",
    "the table is deleted": "delete table inet pyswarm",
    "everything is deleted": "flush ruleset",
    "the chain is of another kind": "delete chain inet pyswarm out\n"
    "add chain inet pyswarm out { type filter hook output priority 5; }",
    "the map is another": "flush chain inet pyswarm out\ndelete map inet pyswarm vips\n"
    "add map inet pyswarm vips { type ipv6_addr : verdict; }",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_repaired(namespace: Namespace, what: str) -> None:
    table = kept(namespace)
    value = [FRAME, service(1, 3), service(2, 2), ports(80)]
    table.keep(value)
    before = listed(namespace)
    nft(namespace, DAMAGE[what])
    assert (
        listed(namespace) != before
        if "inet pyswarm" in DAMAGE[what] and "table" not in DAMAGE[what]
        else True
    )
    assert table.reconcile() > 0
    assert listed(namespace) == before
    assert table.reconcile() == 0
    table.keep([*value[:-1], ports(80, 81)])
    assert table.reconcile() == 0


def test_a_changed_element_of_a_rules_own_map_is_noticed(namespace: Namespace) -> None:
    """The rule, its comment and its digest stay: only its anonymous map says something else."""
    table = kept(namespace)
    table.keep([FRAME, service(1, 2)])
    before = listed(namespace)
    comment = rule_comment(namespace, "svc1")
    nft(
        namespace,
        "flush chain inet pyswarm svc1\nadd rule inet pyswarm svc1 dnat ip to numgen random mod 2 map "
        f'{{ 0 : 10.5.1.10, 1 : 10.9.9.9 }} comment "{comment}"',
    )
    assert table.reconcile() == 1
    assert listed(namespace) == before


def rule_comment(namespace: Namespace, chain: str) -> str:
    found = re.search(r'comment "([^"]*)"', nft(namespace, f"list chain inet pyswarm {chain}"))
    assert found
    return found[1]


def test_a_change_meets_damage_and_repairs_it(namespace: Namespace) -> None:
    table = kept(namespace)
    table.keep([FRAME, service(1, 3)])
    nft(namespace, "flush ruleset")
    table.keep([FRAME, service(1, 2)])
    assert table.reconcile() == 0
    assert "svc1" in nft(namespace, "list table inet pyswarm")


def test_other_tables_are_left_alone_and_ours_stays_known(namespace: Namespace) -> None:
    table = kept(namespace)
    table.keep([FRAME, service(1, 3)])
    nft(
        namespace,
        "table ip foreign { chain x { type nat hook output priority -150; ip daddr 10.5.0.1 accept; }; }",
    )
    foreign = nft(namespace, "list table ip foreign")
    assert table.reconcile() == 0
    table.keep([FRAME, service(1, 2)])
    table.remove()
    assert nft(namespace, "list ruleset") == foreign


def test_a_second_daemon_takes_the_table_over_without_touching_equal_rules(namespace: Namespace) -> None:
    kept(namespace).keep([FRAME, service(1, 3), service(2, 3)])
    before = nft(namespace, "list table inet pyswarm")
    generation = namespace.nft.generation()
    second = kept(namespace)
    second.adopt([FRAME])
    assert nft(namespace, "list table inet pyswarm") == before
    assert second.reconcile() == 0
    second.keep([FRAME, service(1, 3), service(2, 3)])
    assert namespace.nft.generation() == generation
    second.keep([FRAME, service(2, 3)])
    assert "svc1" not in nft(namespace, "list table inet pyswarm")


def test_an_element_of_two_parts_stays_while_one_of_them_does(namespace: Namespace) -> None:
    table = kept(namespace)
    one, two = service(1, 1), service(2, 1)
    shared = Part(elements={"vips": dict(one.elements["vips"])})
    table.keep([FRAME, one, two, shared])
    table.keep([FRAME, one, two])
    assert table.reconcile() == 0
    assert ip("10.5.0.1") in found(namespace).elements["vips"]


def test_base_chains_change_by_making_the_table_anew(namespace: Namespace) -> None:
    table = kept(namespace)
    table.keep([FRAME, service(1, 3)])
    other = Part(
        chains={"out": Chain(FRAME.chains["out"].rules, Base(kind="nat", hook=Hook.OUTPUT, priority=-90))},
        sets=FRAME.sets,
    )
    table.keep([other, service(1, 3)])
    assert "priority -90" in nft(namespace, "list chain inet pyswarm out")
    table.keep([other, service(1, 4)])
    assert table.reconcile() == 0


def test_the_unchanged_table_costs_no_dump(namespace: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    table = kept(namespace)
    table.keep([FRAME, service(1, 3)])
    table.keep([FRAME, service(1, 4)])

    def refuse(*arguments: object) -> None:
        raise AssertionError("the table was read")

    monkeypatch.setattr(dump, "read", refuse)
    assert table.reconcile() == 0


def test_lost_answers_are_made_up_for_by_reading(
    namespace: Namespace, caplog: pytest.LogCaptureFixture
) -> None:
    """A receive buffer too small for the echoes: the batch is carried out, but nobody tells the handles."""
    table = kept(namespace)
    table.keep([FRAME])
    handle = socket.socket(fileno=os.dup(namespace.nft._socket.fileno()))
    with handle, caplog.at_level("INFO"):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        table.keep([FRAME, ports(*range(1, 400))])
        assert "not as we left it" in caplog.text
        assert len(found(namespace).chains["ports"].rules) == 399
        table.keep([FRAME, ports(7)])
    assert table.reconcile() == 0
    assert len(found(namespace).chains["ports"].rules) == 1


def test_namespaces_that_change_alike_share_one_plan() -> None:
    plans = Plans(INET, TABLE, size=2)
    before, after = [service(1, 3)], [service(1, 4)]
    first = plans.between(before, after)
    assert plans.between(list(before), list(after)) is first
    plans.between(after, before)
    plans.between(after, [])
    assert plans.between(before, after) is not first
