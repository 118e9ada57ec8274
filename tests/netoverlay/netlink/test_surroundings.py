"""What a host tells of its networks and routes, and what not."""

from __future__ import annotations

import logging

import pytest

from netoverlay.netlink.numbers import PROTOCOL, RouteKind
from netoverlay.netlink.records import Address, Link
from netoverlay.netlink.routing import Route
from netoverlay.netlink.surroundings import MOST_ROUTES, Surroundings, arranged, surroundings
from netoverlay.netns import Namespaces
from tests.netoverlay.hosts import ip, unique

LINKS = [
    Link(index=number, name=name, kind="", mac="", mtu=1500, up=True, master=0)
    for number, name in enumerate(("lo", "eth0", "vxi", "gv12", "br-aaaabbbbcccc", "br-docker"), 1)
]


def route(destination: str, index: int = 2, kind: int = RouteKind.UNICAST, protocol: int = 4) -> Route:
    family = 10 if ":" in destination else 2
    return Route(destination, index, "", "", 254, 0, 0, kind, protocol, family)


def told(addresses: list[Address], routes: list[Route]) -> Surroundings:
    return arranged(LINKS, addresses, routes, {"br-aaaabbbbcccc"})


def test_addresses_of_all_devices_but_ours_are_told() -> None:
    found = told(
        [
            Address(1, "127.0.0.1", 8, 254),
            Address(1, "10.9.9.9", 32, 0),  # a router's loopback address is where others reach it
            Address(2, "10.0.0.1", 24, 0),
            Address(2, "fe80::1", 64, 253),
            Address(2, "fd77::1", 64, 0),
            Address(3, "10.0.16.2", 20, 0),
            Address(3, "169.254.1.1", 32, 0),
            Address(5, "172.18.0.1", 16, 0),
            Address(6, "172.19.0.1", 16, 0),
        ],
        [],
    )
    assert found == Surroundings(addresses=("10.0.0.1/24", "10.9.9.9/32", "172.19.0.1/16", "fd77::1/64"))


def test_routes_that_lead_somewhere_are_told() -> None:
    found = told(
        [Address(2, "10.0.0.1", 24, 0)],
        [
            route("default"),
            route("0.0.0.0/1"),
            route("2000::/3"),
            route("10.0.0.0/24", protocol=2),
            route("10.8.0.0/16"),
            route("10.8.4.0/24"),
            route("10.9.0.0/16", index=0),  # several next hops
            route("10.50.0.0/16", kind=RouteKind.BLACKHOLE),
            route("10.60.0.0/16", kind=RouteKind.LOCAL),
            route("10.0.0.1/32", kind=RouteKind.LOCAL, protocol=2),
            route("127.0.0.0/8", index=1, kind=RouteKind.LOCAL, protocol=2),
            route("224.0.0.0/4"),
            route("10.0.16.0/20", index=3, protocol=2),
            route("10.0.17.0/24", protocol=PROTOCOL),
            route("fd88::/48"),
            route("fe80::/64"),
            route("172.18.0.0/16", index=5),
        ],
    )
    assert found.routes == ("10.8.0.0/16", "10.9.0.0/16", "10.60.0.0/16", "10.8.4.0/24", "fd88::/48")


def test_many_routes_are_told_in_the_fewest_pieces() -> None:
    found = told([], [route(f"10.{a}.{b}.0/24") for a in range(8) for b in range(256)])
    assert found.routes == ("10.0.0.0/13",)


def test_a_router_tells_of_its_widest_routes(caplog: pytest.LogCaptureFixture) -> None:
    routes = [route(f"10.{a}.{b}.0/24") for a in range(8) for b in range(0, 256, 2)]
    with caplog.at_level(logging.WARNING):
        found = told([], [*routes, route("172.16.0.0/12")])
    assert len(found.routes) == MOST_ROUTES
    assert found.routes[0] == "172.16.0.0/12"
    assert "more routes than the swarm is told of" in caplog.text


@pytest.mark.root
def test_a_kernels_tables_are_read_both_families_and_all_of_them(namespaces: Namespaces) -> None:
    host = namespaces.create(unique("a"))
    for words in (
        "link set lo up",
        "link add eth0 type bridge",
        "link set eth0 up",
        "address add 192.168.0.11/16 dev eth0",
        "address add fd77::11/64 dev eth0 nodad",
        "route add 10.0.0.0/16 via 192.168.0.1",
        "route add 172.20.0.0/16 dev eth0 table 77",
        "route add default via 192.168.0.1",
        "-6 route add fd99:1::/32 via fd77::1",
        "-6 route add default via fd77::1",
        "route add 10.4.0.0/16 nexthop via 192.168.0.2 nexthop via 192.168.0.3",
    ):
        ip(host, "ip", *words.split())
    assert surroundings(host.route) == Surroundings(
        addresses=("192.168.0.11/16", "fd77::11/64"),
        routes=("10.0.0.0/16", "10.4.0.0/16", "172.20.0.0/16", "fd99:1::/32"),
    )
