"""Which names a container sees, and what they resolve to."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from netoverlay.dns.answers import View, address_of
from netoverlay.dns.message import answer_body
from netoverlay.dns.records import Names
from swarmcore.model.overlay import NetworkTable
from tests.netoverlay.dns.sample import API, DB, SHOP, endpoint, parsed, query, table, told


def view(*tables: NetworkTable) -> View:
    networks: Sequence[Names] = [Names(each) for each in tables]
    return View(lambda: networks, b"myself", (b"\x0a\x05\x00\x63",))


def asked(seen: View, name: str, kind: str = "A") -> list[str] | None:
    """None: not a name of the swarm's."""
    question = query(name, kind)
    answer = seen.answer(question)
    if answer is None:
        return None
    return told(b"\0\0" + answer_body(question, 0, answer.records, answer.extras, limit=65_535))


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("api", "A", ["10.5.0.200"]),
        ("API", "A", ["10.5.0.200"]),
        ("api.shop", "A", ["10.5.0.200"]),
        ("api.SHOP", "A", ["10.5.0.200"]),
        ("backend", "A", ["10.5.0.200"]),
        ("tasks.api", "A", ["10.5.0.1", "10.5.0.2"]),
        ("tasks.backend", "A", ["10.5.0.1", "10.5.0.2"]),
        ("tasks.api.shop", "A", ["10.5.0.1", "10.5.0.2"]),
        ("db", "A", ["10.5.0.11", "10.5.0.12"]),
        ("db", "AAAA", ["fd00::11", "fd00::12"]),
        ("tasks.db", "A", ["10.5.0.11", "10.5.0.12"]),
        ("api.1.api-task1", "A", ["10.5.0.1"]),
        ("api.1.api-task1.shop", "A", ["10.5.0.1"]),
        ("host2", "A", ["10.5.0.2"]),
        ("myself", "A", ["10.5.0.99"]),
        ("host3", "A", None),
        ("api", "AAAA", []),
        ("api", "MX", []),
        ("api", "TXT", []),
        ("api", "SRV", []),
        ("api.other", "A", None),
        ("example.com", "A", None),
        ("10.5.0.1", "A", None),
        ("1.0.5.10.in-addr.arpa", "PTR", ["api.1.api-task1.shop."]),
        ("200.0.5.10.in-addr.arpa", "PTR", ["api.shop."]),
        ("3.0.5.10.in-addr.arpa", "PTR", None),
        ("0.5.10.in-addr.arpa", "PTR", None),
        ("999.0.5.10.in-addr.arpa", "PTR", None),
        ("1.1." + "0." * 28 + "d.f.ip6.arpa", "PTR", ["db.11.db-task11.shop."]),
        (".", "NS", None),
    ],
)
def test_names(name: str, kind: str, expected: list[str] | None) -> None:
    assert asked(view(SHOP), name, kind) == expected


def test_other_classes_are_not_ours() -> None:
    assert view(SHOP).answer(query("api", rdclass="CH")) is None


def test_a_service_without_active_tasks_is_known_all_the_same() -> None:
    shop = table(endpoint(1, "db", active=False), services=(API, DB))
    seen = view(shop)
    assert asked(seen, "db") == []
    assert asked(seen, "tasks.api") == []
    assert asked(seen, "api") == ["10.5.0.200"]


def test_a_network_that_has_addresses_wins_over_one_that_only_knows_the_name() -> None:
    empty = table(services=(DB,), name="back")
    assert asked(view(empty, SHOP), "db") == ["10.5.0.11", "10.5.0.12"]


def test_the_first_interfaces_network_comes_first() -> None:
    other = table(services=(replace(API, vips=("10.9.0.200",)),), name="back")
    assert asked(view(SHOP, other), "api") == ["10.5.0.200"]
    assert asked(view(other, SHOP), "api") == ["10.9.0.200"]
    assert asked(view(other, SHOP), "api.shop") == ["10.5.0.200"]


def test_names_and_networks_may_have_dots() -> None:
    dotted = table(endpoint(7, "x", name="a.b"), name="c.d")
    short = table(endpoint(8, "y", name="a"), name="b.c.d")
    assert asked(view(short, dotted), "a.b.c.d") == ["10.5.0.7"]
    assert asked(view(short), "a.b.c.d") == ["10.5.0.8"]


def test_the_ingress_network_has_no_names() -> None:
    assert asked(view(replace(SHOP, network=replace(SHOP.network, ingress=True))), "api") is None


def test_a_host_name_like_the_services_does_not_mix_with_it() -> None:
    shop = table(endpoint(1, aliases=("api", "web")), services=(API,))
    assert asked(view(shop), "api") == ["10.5.0.200"]
    assert asked(view(shop), "web") == ["10.5.0.1"]


def test_an_alias_of_two_services_means_both() -> None:
    other = replace(API, id="new-id", name="new", vips=("10.5.0.201",))
    assert asked(view(table(services=(API, other))), "backend") == ["10.5.0.200", "10.5.0.201"]


@pytest.mark.parametrize("port", ["_web", "_8000", "_80"])
def test_a_port_is_found_at_the_services_name(port: str) -> None:
    seen = view(SHOP)
    assert asked(seen, f"{port}._tcp.api", "SRV") == ["0 0 8000 api.shop."]
    assert asked(seen, f"{port}._tcp.tasks.api.shop", "SRV") == [
        "0 0 8000 api.1.api-task1.shop.",
        "0 0 8000 api.2.api-task2.shop.",
    ]


def test_srv_brings_the_addresses_along() -> None:
    question = query("_web._tcp.api", "SRV")
    answer = view(SHOP).answer(question)
    assert answer is not None
    said = parsed(b"\0\0" + answer_body(question, 0, answer.records, answer.extras, limit=512))
    assert [rrset.to_text() for rrset in said.additional] == ["api.shop. 600 IN A 10.5.0.200"]


def test_a_port_that_is_not_there_is_an_empty_answer_and_one_of_a_stranger_is_not_ours() -> None:
    seen = view(SHOP)
    assert asked(seen, "_web._udp.api", "SRV") == []
    assert asked(seen, "_http._tcp.example.com", "SRV") is None
    assert asked(seen, "_web.api", "SRV") is None


def test_a_name_that_dns_cannot_carry_has_no_pointer() -> None:
    seen = view(table(endpoint(1, name="x" * 64)))
    assert asked(seen, "1.0.5.10.in-addr.arpa", "PTR") is None


def test_only_whole_addresses_have_reverse_names() -> None:
    assert address_of(b"4.3.2.1.in-addr.arpa") == b"\1\2\3\4"
    assert address_of(b"g." * 32 + b"ip6.arpa") is None
