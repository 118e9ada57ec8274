"""Every expression, as nft(8) understands what we put into the kernel, and as we read it back."""

from __future__ import annotations

import pytest

from netoverlay.netns import Namespace
from netoverlay.nft import dump, expr, match, types
from netoverlay.nft.batch import Batch
from netoverlay.nft.table import Base, Chain, Hook, NamedSet, Rule, rule
from netoverlay.nft.types import ETHER, IPV4, IPV6, MARK, PORT, PROTOCOL, VERDICT, concatenation, ip, key
from netoverlay.nft.wire import Family
from tests.netoverlay.nft.listing import nft, rules

pytestmark = pytest.mark.root
INET = Family.INET
V4, V6 = Family.IPV4, Family.IPV6
FILTER = Chain(base=Base(kind="filter", hook=Hook.PREROUTING, priority=-300))
OUTPUT = Chain(base=Base(kind="filter", hook=Hook.OUTPUT, priority=0))
NAT = Chain(base=Base(kind="nat", hook=Hook.PREROUTING, priority=-100))
SOURCE_NAT = Chain(base=Base(kind="nat", hook=Hook.POSTROUTING, priority=100))
MACS = {types.ether("02:70:73:00:00:01"): types.zone(1), types.ether("02:70:73:00:00:02"): types.zone(2)}


def ports(family: Family, *addresses: str) -> types.AnonymousSet:
    value = concatenation(IPV4 if family is V4 else IPV6, PORT)
    return types.anonymous_map(
        types.INTEGER,
        value,
        {types.mark(place): key(ip(each), types.port(8000)) for place, each in enumerate(addresses)},
    )


CASES: dict[str, tuple[Chain, Rule, str]] = {
    "wildcards": (
        FILTER,
        rule(match.arrives_on("vxi", "gv*"), match.target("127.0.0.0/8"), expr.verdict(types.DROP)),
        'iifname { "gv*", "vxi" } ip daddr 127.0.0.0/8 drop',
    ),
    "one wildcard": (
        FILTER,
        rule(match.arrives_on("gv*"), expr.counter()),
        'iifname "gv*" counter packets 0 bytes 0',
    ),
    "not on": (
        FILTER,
        rule(match.arrives_on("lo", inverted=True), expr.verdict(types.DROP)),
        'iifname != "lo" drop',
    ),
    "not on these": (
        SOURCE_NAT,
        rule(match.leaves_on("vxi", "gv*", inverted=True), expr.masquerade()),
        'oifname != { "gv*", "vxi" } masquerade',
    ),
    "zone": (
        FILTER,
        rule(
            match.arrives_on("vxi"),
            match.ethernet(),
            expr.ether_source(),
            expr.mapped(types.anonymous_map(ETHER, types.ZONE, MACS)),
            expr.set_ct_zone(expr.CT_ORIGINAL),
        ),
        'iifname "vxi" ct original zone set ether saddr map { 02:70:73:00:00:01 : 1, 02:70:73:00:00:02 : 2 }',
    ),
    "both zones": (FILTER, rule(expr.immediate(types.zone(7)), expr.set_ct_zone()), "ct zone set 7"),
    "mark": (
        FILTER,
        rule(
            match.state(expr.CtState.NEW),
            match.ethernet(),
            expr.ether_source(),
            expr.mapped("nodes"),
            expr.set_ct_mark(),
        ),
        "ct state new ct mark set ether saddr map @nodes",
    ),
    "restored mark": (
        FILTER,
        rule(
            match.direction(expr.CT_REPLY),
            match.ct_mark(0x70000, 0xFF0000),
            expr.ct(expr.Ct.MARK),
            expr.set_mark(),
        ),
        "ct direction reply ct mark & 0x00ff0000 == 0x00070000 meta mark set ct mark",
    ),
    "cleared mark": (
        OUTPUT,
        rule(
            match.leaves_on("vxi"), match.mark(0x70000, 0xFF0000), expr.immediate(bytes(4)), expr.set_mark()
        ),
        'oifname "vxi" meta mark & 0x00ff0000 == 0x00070000 meta mark set 0x00000000',
    ),
    "published": (
        NAT,
        rule(match.target_is_local(), expr.meta(expr.Meta.L4PROTO), expr.target_port(1), expr.decided("pub")),
        "fib daddr type local meta l4proto . th dport vmap @pub",
    ),
    "balanced with port": (
        Chain(),
        rule(
            match.family(V4),
            match.protocol(match.TCP, match.UDP),
            expr.random(2),
            expr.mapped(ports(V4, "10.0.0.22", "10.0.0.23")),
            expr.dnat(V4, 0, 1),
        ),
        "meta nfproto ipv4 meta l4proto { tcp, udp } dnat ip to "
        "numgen random mod 2 map { 0 : 10.0.0.22 . 8000, 1 : 10.0.0.23 . 8000 }",
    ),
    "balanced with port, IPv6": (
        Chain(),
        rule(
            match.protocol(match.TCP), expr.random(1), expr.mapped(ports(V6, "fd00::1")), expr.dnat(V6, 0, 4)
        ),
        "meta l4proto tcp dnat ip6 to numgen random mod 1 map { 0 : fd00::1 . 8000 }",
    ),
    "to a port": (
        NAT,
        rule(
            match.target("127.0.0.11"),
            match.target_port(53, match.UDP),
            expr.immediate(ip("127.0.0.11")),
            expr.immediate(types.port(4001), 1),
            expr.dnat(V4, 0, 1),
        ),
        "ip daddr 127.0.0.11 udp dport 53 dnat ip to 127.0.0.11:4001",
    ),
    "hairpin": (
        SOURCE_NAT,
        rule(
            match.status(expr.CT_DNAT),
            match.family(V4),
            expr.ip_source(),
            expr.ip_target(1),
            expr.is_in("self"),
            expr.masquerade(),
        ),
        "ct status dnat ip saddr . ip daddr @self masquerade",
    ),
    "source": (
        SOURCE_NAT,
        rule(
            match.status(expr.CT_DNAT),
            match.source_is_local(inverted=True),
            expr.immediate(ip("10.0.0.1")),
            expr.snat(V4),
        ),
        "ct status dnat fib saddr type != local snat ip to 10.0.0.1",
    ),
    "source, IPv6": (
        SOURCE_NAT,
        rule(match.family(V6), expr.immediate(ip("fd00::1")), expr.snat(V6)),
        "meta nfproto ipv6 snat ip6 to fd00::1",
    ),
    "outbound": (
        SOURCE_NAT,
        rule(
            match.source("10.0.0.0/20"),
            match.target("10.0.0.0/20", inverted=True, guarded=False),
            expr.masquerade(),
        ),
        "ip saddr 10.0.0.0/20 ip daddr != 10.0.0.0/20 masquerade",
    ),
    "outbound, IPv6": (
        SOURCE_NAT,
        rule(
            match.source("fd00:1::/64"),
            match.target("fd00:1::/64", inverted=True, guarded=False),
            expr.masquerade(),
        ),
        "ip6 saddr fd00:1::/64 ip6 daddr != fd00:1::/64 masquerade",
    ),
    "reset": (
        OUTPUT,
        rule(match.protocol(match.TCP), expr.reject_with_reset()),
        "meta l4proto tcp reject with tcp reset",
    ),
    "unreachable": (
        OUTPUT,
        rule(match.leaves_on("eth0"), expr.reject_as_unreachable()),
        'oifname "eth0" reject',
    ),
    "ports": (
        OUTPUT,
        rule(
            match.protocol(match.TCP),
            expr.target_port(),
            expr.between(types.port(1), types.port(1024)),
            expr.counter(),
        ),
        "tcp dport 1-1024 counter packets 0 bytes 0",
    ),
    "verdicts": (Chain(), rule(expr.verdict(types.jump("pub-web"))), "jump pub-web"),
    "goto": (Chain(), rule(expr.verdict(types.goto("pub-web"))), "goto pub-web"),
    "accept": (Chain(), rule(expr.verdict(types.ACCEPT)), "accept"),
    "return": (
        Chain(),
        rule(match.protocol(match.SCTP), expr.verdict(types.RETURN)),
        "meta l4proto sctp return",
    ),
}


def prepared() -> Batch:
    batch = Batch(INET, "pyswarm")
    batch.make_table()
    batch.make_chain("pub-web", Chain())
    batch.make_set("pub", NamedSet(key=concatenation(PROTOCOL, PORT), value=VERDICT))
    batch.make_set("nodes", NamedSet(key=ETHER, value=MARK))
    batch.make_set("self", NamedSet(key=concatenation(IPV4, IPV4)))
    batch.put_elements("pub", {key(match.TCP, types.port(8080)): types.goto("pub-web")})
    batch.put_elements("nodes", {types.ether("02:70:73:00:00:01"): types.mark(0x70001)})
    batch.put_elements("self", {key(ip("10.0.0.1"), ip("10.0.0.1")): None})
    return batch


@pytest.mark.parametrize("case", CASES)
def test_a_rule_says_to_nft_what_it_says_to_us(namespace: Namespace, case: str) -> None:
    chain, wanted, said = CASES[case]
    batch = prepared()
    batch.make_chain("tried", chain)
    batch.append_rule("tried", wanted)
    committed = namespace.nft.commit(batch.encode())
    assert len(committed.handles) == 1
    assert rules(namespace, "tried") == [said]
    found = dump.read(namespace.nft, INET, "pyswarm").found
    assert found is not None
    assert found.part.chains["tried"].base == chain.base
    assert [each.digest for each in found.part.chains["tried"].rules] == [wanted.digest]
    assert found.handles["tried"] == list(committed.handles)


def test_sets_and_maps_read_back_as_nft_shows_them(namespace: Namespace) -> None:
    namespace.nft.commit(prepared().encode())
    listed = " ".join(nft(namespace, "list ruleset").split())
    for text in (
        "map pub { type inet_proto . inet_service : verdict elements = { tcp . 8080 : goto pub-web } }",
        "map nodes { type ether_addr : mark elements = { 02:70:73:00:00:01 : 0x00070001 } }",
        "set self { type ipv4_addr . ipv4_addr elements = { 10.0.0.1 . 10.0.0.1 } }",
    ):
        assert text in listed
    found = dump.read(namespace.nft, INET, "pyswarm").found
    assert found is not None
    assert found.part.elements == {
        "pub": {key(match.TCP, types.port(8080)): types.goto("pub-web")},
        "nodes": {types.ether("02:70:73:00:00:01"): types.mark(0x70001)},
        "self": {key(ip("10.0.0.1"), ip("10.0.0.1")): None},
    }
    assert found.part.sets["nodes"].shape == NamedSet(key=ETHER, value=MARK).shape


def test_digests_of_all_cases_differ() -> None:
    assert len({wanted.digest for _, wanted, _ in CASES.values()}) == len(CASES)
