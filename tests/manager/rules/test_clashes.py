"""What hosts' networks and routes forbid the swarm, compared with the addresses one by one."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manager.rules.clashes import HostNetwork, clashes, host_networks, remark
from swarmcore.model.base import Driver
from swarmcore.model.network import IPAMConfig, IPAMOptions, Network, NetworkSpec
from swarmcore.model.node import Node, NodeDescription, NodeStatus


def networks() -> st.SearchStrategy[IPv4Network]:
    """Of sixteen addresses, so that they meet."""
    return st.integers(28, 32).flatmap(
        lambda prefix: st.integers(0, (1 << (prefix - 28)) - 1).map(
            lambda place: IPv4Network((0x0A000000 + (place << (32 - prefix)), prefix))
        )
    )


@given(networks(), networks(), st.booleans())
def test_what_shares_an_address_is_forbidden_but_for_wider_routes(
    host: IPv4Network, subnet: IPv4Network, route: bool
) -> None:
    shared = not set(host).isdisjoint(subnet)
    wider = route and host.prefixlen < subnet.prefixlen
    assert HostNetwork(host, route).forbids(subnet) is (shared and not wider)


def host(*subnets: str, routes: tuple[str, ...] = (), at: str = "", seen: str = "") -> Node:
    described = NodeDescription(hostname="alpha", host_subnets=subnets, host_routes=routes, data_path_addr=at)
    return Node(id="n", description=described, status=NodeStatus(addr=seen))


def overlay(subnet: str, name: str = "shop", driver: str = "overlay") -> Network:
    spec = NetworkSpec(name=name, driver_configuration=Driver(name=driver))
    return Network(id=name, spec=spec, ipam_options=IPAMOptions(configs=(IPAMConfig(subnet=subnet),)))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (host("10.0.1.5/24"), "network 10.0.1.0/24 overlaps with subnet 10.0.0.0/20 of network shop"),
        (host("10.0.1.5/8"), "network 10.0.0.0/8 overlaps with subnet 10.0.0.0/20 of network shop"),
        (host(routes=("10.0.3.0/24",)), "route 10.0.3.0/24 overlaps with subnet 10.0.0.0/20 of network shop"),
        (host(routes=("10.0.0.0/8",)), ""),
        (host("10.0.16.1/24"), ""),
        (host("192.168.1.1/24", at="10.0.0.7"), "network 10.0.0.7/32 overlaps with subnet"),
        (host("192.168.1.1/24", seen="10.0.0.7"), "network 10.0.0.7/32 overlaps with subnet"),
        (host("fd00::1/64", "nonsense", "0.0.0.0/0", at="nowhere"), ""),
        (Node(id="silent"), ""),
    ],
)
def test_a_remark_names_both_networks(node: Node, words: str) -> None:
    assert remark(node, [overlay("10.0.0.0/20")]).startswith(words)
    assert bool(words) is bool(remark(node, [overlay("10.0.0.0/20")]))


def test_only_overlays_have_subnets_of_the_swarm() -> None:
    assert not list(clashes(host("10.0.0.1/24"), [overlay("10.0.0.0/20", driver="macvlan")]))


def test_what_a_node_tells_is_bounded() -> None:
    many = tuple(f"10.{a}.{b}.0/24" for a in range(64) for b in range(256))
    assert len(host_networks(host(*many, routes=many))) <= 2048
