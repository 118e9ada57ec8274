"""How services join networks, and the names and DNS settings of their containers."""

from __future__ import annotations

from typing import Any

import pytest

from pyswarmd.cli import joining
from swarmcore.errors import Invalid


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("shop", {"Target": "shop"}),
        ("name=shop", {"Target": "shop"}),
        ("name=shop,alias=db,alias=sql", {"Target": "shop", "Aliases": ["db", "sql"]}),
        (
            "name=shop,driver-opt=a=b,driver-opt=c",
            {"Target": "shop", "DriverOpts": {"a": "b", "c": ""}},
        ),
    ],
)
def test_both_forms_of_a_network(text: str, found: dict[str, Any]) -> None:
    assert joining.attachment(text) == found


@pytest.mark.parametrize(
    "text", ["", "alias=db", "name=", "name=shop,alias=", "name=shop,colour=red", "name=a,b"]
)
def test_a_network_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(Invalid) as failed:
        joining.attachment(text)
    assert "\n" not in str(failed.value)


def id_of(name: str) -> str:
    return {"shop": "shop1", "back": "back1"}.get(name, name)


def test_networks_are_edited_by_id() -> None:
    old = [{"Target": "shop1", "Aliases": ["db"]}]
    assert joining.edited_networks(old, ["name=back,alias=x"], ["shop"], id_of) == [
        {"Target": "back1", "Aliases": ["x"]}
    ]
    assert joining.edited_networks(old, ["shop"], ["shop"], id_of) == [{"Target": "shop1"}]
    assert joining.edited_networks(old, [], ["back"], id_of) == old


def test_a_network_is_joined_once() -> None:
    with pytest.raises(Invalid, match="already attached to network shop"):
        joining.edited_networks([{"Target": "shop1"}], ["shop"], [], id_of)


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        (["db"], ["10.0.0.2 cache", "fd00::1 six"]),
        (["db:10.0.0.1", "cache:9.9.9.9"], ["10.0.0.2 cache", "fd00::1 six"]),
        (["six:fd00::1"], ["10.0.0.1 db sql", "10.0.0.2 cache"]),
        (["none"], ["10.0.0.1 db sql", "10.0.0.2 cache", "fd00::1 six"]),
    ],
    ids=str,
)
def test_hosts_are_removed_by_name(removed: list[str], left: list[str]) -> None:
    old = ["10.0.0.1 db sql", "10.0.0.2 cache", "fd00::1 six"]
    assert joining.edited_hosts(old, [], removed) == left


def test_a_host_is_added_once() -> None:
    assert joining.edited_hosts(["10.0.0.1 db"], ["db:10.0.0.1", "six:fd00::1"], []) == [
        "10.0.0.1 db",
        "fd00::1 six",
    ]


def test_dns_says_only_what_is_given() -> None:
    assert joining.dns([], [], []) == {}
    assert joining.dns(["1.1.1.1"], ["a.example"], ["ndots:2"]) == {
        "Nameservers": ["1.1.1.1"],
        "Search": ["a.example"],
        "Options": ["ndots:2"],
    }


def test_lists_lose_what_is_removed_and_get_what_is_added_once() -> None:
    assert joining.without(["a", "b"], ["b", "c", "c"], ["a"]) == ["b", "c"]
    assert joining.without(None, [], ["a"]) == []
