"""Published ports: what people type, what updates make of it, what lists show."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyswarmd.cli import ports
from swarmcore.errors import Invalid


def port(published: int, target: int, protocol: str = "tcp", mode: str = "ingress") -> dict[str, Any]:
    return {"Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": mode}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("80", [port(0, 80)]),
        ("8080:80", [port(8080, 80)]),
        ("53:53/UDP", [port(53, 53, "udp")]),
        ("80/sctp", [port(0, 80, "sctp")]),
        ("8000-8002:9000-9002/udp", [port(8000 + n, 9000 + n, "udp") for n in range(3)]),
        ("8000-8001:80", [port(8000, 80), port(8001, 80)]),
        ("80-81", [port(0, 80), port(0, 81)]),
        (
            "published=8080,target=80,protocol=udp,mode=host",
            [port(8080, 80, "udp", "host")],
        ),
        ("target=80", [port(0, 80)]),
        ("target=80-81,published=8080-8081", [port(8080, 80), port(8081, 81)]),
    ],
)
def test_what_is_published(text: str, found: list[dict[str, Any]]) -> None:
    assert ports.parse(text) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid port"),
        ("x:80", "invalid port"),
        ("8080:", "invalid port"),
        ("0", "invalid port"),
        ("65536:80", "invalid port"),
        ("81-80:81-80", "invalid port"),
        ("8000-8002:80-81", "same length"),
        ("8000:80-81", "same length"),
        ("10.0.0.1:8080:80", "address cannot be chosen"),
        ("[fd00::1]:8080:80", "address cannot be chosen"),
        ("80/icmp", "invalid protocol 'icmp'"),
        ("80/", "invalid protocol"),
        ("target=80,mode=everywhere", "invalid mode"),
        ("target=80,colour=red", "'colour' is not known"),
        ("published=80", "invalid port"),
    ],
)
def test_what_cannot_be_published(text: str, why: str) -> None:
    with pytest.raises(Invalid) as failed:
        ports.parse(text)
    assert why in str(failed.value)


OLD = [port(8080, 80), port(8443, 443), port(53, 53, "udp"), port(9000, 9000, mode="host")]


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        (["80"], OLD[1:]),
        (["8080:80/tcp"], OLD[1:]),
        (["8081:80"], OLD),
        (["53"], OLD),
        (["53/udp", "443"], [OLD[0], OLD[3]]),
        (["9000"], OLD[:3]),
        (["target=9000,mode=host"], OLD[:3]),
        (["target=9000,mode=ingress"], OLD),
    ],
    ids=str,
)
def test_ports_are_removed_by_their_target(removed: list[str], left: list[dict[str, Any]]) -> None:
    assert ports.edited(OLD, [], removed) == left


def test_a_port_is_added_once_and_may_replace_one() -> None:
    assert ports.edited(OLD, ["8080:80"], []) == OLD
    assert ports.edited(OLD[:1], ["8081:80"], ["80"]) == [port(8081, 80)]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ([], ""),
        ([port(8080, 80)], "*:8080->80/tcp"),
        ([port(8081, 81), port(8080, 80)], "*:8080-8081->80-81/tcp"),
        ([port(8080, 80), port(8081, 82)], "*:8080->80/tcp, *:8081->82/tcp"),
        ([port(53, 53, "udp"), port(54, 54)], "*:54->54/tcp, *:53->53/udp"),
        ([port(8080, 80, mode="host")], ""),
        ([port(0, 80)], ""),
    ],
)
def test_a_service_shows_ports_that_every_node_answers_on(given: Any, shown: str) -> None:
    assert ports.of_service(given) == shown


def test_a_task_shows_the_ports_of_its_node() -> None:
    assert ports.of_task([port(30001, 80), port(53, 53, "udp")]) == "*:30001->80/tcp,*:53->53/udp"
    assert ports.of_task([]) == ""


@given(st.lists(st.integers(1, 65535), unique=True, max_size=20), st.integers(-3, 3))
def test_no_port_is_lost_in_a_list(numbers: list[int], offset: int) -> None:
    given = [port(n, n + offset) for n in numbers if 0 < n + offset < 65536]
    shown = ports.of_service(given)
    found = [
        (outside, inside)
        for part in filter(None, shown.split(", "))
        for outside, inside in [
            (p["PublishedPort"], p["TargetPort"])
            for p in ports.parse(part.removeprefix("*:").replace("->", ":"))
        ]
    ]
    assert sorted(found) == sorted((p["PublishedPort"], p["TargetPort"]) for p in given)
