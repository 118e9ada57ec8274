"""What the mesh shall look like, as values: no kernel is asked."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from socket import AF_INET, AF_INET6

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from netoverlay.mesh.gateway_pool import free_address
from netoverlay.mesh.parts import MeshParts
from netoverlay.mesh.ports import Port, Way, gone, host_ports, ports
from netoverlay.mesh.routes import (
    MARK,
    NOTHING,
    device,
    difference,
    mesh,
    node_mac,
    policy,
)
from netoverlay.netlink.routing import Rule
from netoverlay.nft.table import merged
from swarmcore.model.endpoint import PortConfig, Protocol, PublishMode
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNode
from tests.netoverlay.mesh.hosts import ingress_network, published, service


def node(number: int) -> OverlayNode:
    return OverlayNode(
        id=f"n{number}",
        vtep=f"192.0.2.{number}",
        number=number,
        addresses=(f"10.0.0.{number}", f"fdc0:1:2:3::{number:x}"),
    )


def endpoint(place: int, on: int, active: bool = True) -> OverlayEndpoint:
    return OverlayEndpoint(
        id=f"t{place}",
        node_id=f"n{on}",
        name=f"web.{place}",
        service_id="web",
        addresses=(f"10.0.0.{place}", f"fdc0:1:2:3::{place:x}"),
        active=active,
    )


def table(*endpoints: OverlayEndpoint, local_only: bool = False, nodes: int = 3) -> NetworkTable:
    return NetworkTable(
        network=ingress_network(),
        nodes={each.id: each for each in map(node, range(1, nodes + 1))},
        services={"web": service(local_only=local_only)},
        endpoints={each.id: each for each in endpoints},
    )


WEB = Port(Protocol.TCP, 8080)


def test_a_port_leads_to_active_replicas_of_all_nodes() -> None:
    found = ports(table(endpoint(21, 1), endpoint(22, 2), endpoint(23, 3, active=False)), "n1")
    assert found.balanced[WEB].targets4 == ("10.0.0.21", "10.0.0.22")
    assert found.balanced[WEB].targets6 == ("fdc0:1:2:3::15", "fdc0:1:2:3::16")
    assert found.refused == frozenset()


def test_virtual_addresses_answer_like_nodes() -> None:
    made = table(endpoint(21, 1), local_only=True)
    made = replace(made, services={"web": replace(made.services["web"], vips=("10.0.0.9", "fdc0:1:2:3::9"))})
    assert ports(made, "n1").balanced[WEB].virtual == ("10.0.0.9", "fdc0:1:2:3::9")
    assert ports(made, "n1").unserved == frozenset()
    assert ports(made, "n2").unserved == {
        (address, Port(kind, 8080))
        for address in ("10.0.0.9", "fdc0:1:2:3::9")
        for kind in (Protocol.TCP, Protocol.UDP)
    }


def test_a_draining_replica_stays_reachable_for_other_nodes() -> None:
    found = ports(table(endpoint(21, 1, active=False)), "n1")
    assert ("10.0.0.21", Protocol.TCP, 8000) in found.reachable
    assert WEB in found.refused


def test_a_local_only_service_is_refused_where_it_has_no_replica() -> None:
    made = table(endpoint(21, 1), local_only=True)
    assert ports(made, "n1").balanced[WEB].targets4 == ("10.0.0.21",)
    assert WEB in ports(made, "n2").refused
    assert ports(made, "n2").balanced == {}


def test_ports_of_mode_host_are_no_business_of_the_mesh() -> None:
    made = table(endpoint(21, 1))
    made = replace(made, services={"web": replace(made.services["web"], ports=published(host=True))})
    assert ports(made, "n1").balanced == {}
    assert ports(made, "n1").refused == frozenset()


def test_of_two_containers_that_want_the_same_port_of_the_host_the_first_has_it() -> None:
    port = PortConfig(target_port=80, published_port=9090, publish_mode=PublishMode.HOST)
    ways = [
        Way(device=f"gv{place}", addresses=(f"172.31.0.{place}",), host_ports=(port,)) for place in (1, 2)
    ]
    assert host_ports(ways)[Port(Protocol.TCP, 9090)].address4 == "172.31.0.1"


def test_only_endpoints_that_left_the_table_are_gone() -> None:
    before = table(endpoint(21, 1), endpoint(22, 2))
    after = table(endpoint(21, 1, active=False))
    assert gone(before, after) == {"10.0.0.22", "fdc0:1:2:3::16"}
    assert gone(None, after) == frozenset()
    assert gone(before, None) == {"10.0.0.21", "fdc0:1:2:3::15", "10.0.0.22", "fdc0:1:2:3::16"}


def test_a_node_knows_the_others_and_whose_replicas_are_theirs() -> None:
    found = mesh(table(endpoint(21, 1), endpoint(22, 2)), "n1", ipv6=True)
    assert found.addresses == {"10.0.0.1/20", "fdc0:1:2:3::1/112"}
    assert found.neighbours["10.0.0.22"] == node_mac(2) == "02:70:73:00:00:02"
    assert "10.0.0.21" not in found.neighbours
    assert found.entries == {(node_mac(2), "192.0.2.2"), (node_mac(3), "192.0.2.3")}
    assert (7002, "10.0.0.2") in found.routes


def test_nothing_of_ipv6_is_wanted_where_the_kernel_has_none() -> None:
    found = mesh(table(endpoint(22, 2)), "n1", ipv6=False)
    assert not any(":" in each for each in found.neighbours)
    assert {each.family for each in found.rules} == {AF_INET}


def test_without_a_number_the_node_has_no_device_yet() -> None:
    made = table(endpoint(22, 2))
    made = replace(made, nodes={**made.nodes, "n1": replace(node(1), number=0)})
    assert device(made, "n1") is None
    assert mesh(made, "n1", ipv6=True) is NOTHING


def followed(rules: frozenset[Rule], mark: int, family: int = AF_INET) -> tuple[int, int]:
    """The table that a packet with this mark is led to (0: none), and how many rules it met on its way."""
    at = met = 0
    ordered = sorted(each for each in rules if each.family == family and not each.iif)
    for each in ordered:
        if each.priority < at:
            continue
        met += 1
        if mark & each.mask == each.mark and (each.goto or each.table):
            if each.table:
                return each.table, met
            if any(other.priority == each.goto for other in ordered):
                at = each.goto
    return 0, met


@given(st.sets(st.integers(1, 65_534), min_size=1, max_size=200))
def test_each_node_has_its_way_back_and_others_none(numbers: set[int]) -> None:
    rules = policy(sorted(numbers))
    for number in numbers:
        assert followed(rules, MARK | number)[0] == 7000 + number
        assert followed(rules, MARK | number, AF_INET6)[0] == 7000 + number
    stranger = next(each for each in range(1, 65_535) if each not in numbers)
    assert followed(rules, MARK | stranger)[0] == 0


def test_no_packet_meets_many_rules_however_many_nodes_there_are() -> None:
    rules = policy(list(range(1, 1025)))
    assert max(followed(rules, MARK | number)[1] for number in range(1, 1025)) < 100
    assert Counter(each.priority for each in rules)[701] == 2


def test_the_difference_to_itself_is_nothing() -> None:
    made = mesh(table(endpoint(22, 2)), "n1", ipv6=True)
    assert len(difference(made, made, 7)) == 0
    assert len(difference(NOTHING, made, 7)) > 0


def test_a_node_that_joins_touches_nothing_of_the_others() -> None:
    before, after = (mesh(table(nodes=count), "n1", ipv6=True) for count in (3, 4))
    changed = [each.what for each in difference(before, after, 7).requests]
    assert not [each for each in changed if "delete" in each]
    assert len(changed) == len(after.neighbours) - len(before.neighbours) + 1 + 2 + 2


def test_parts_of_services_that_did_not_change_are_the_same_objects() -> None:
    parts = MeshParts()
    before = parts(ports(table(endpoint(21, 1)), "n1"), ())
    same = parts(ports(table(endpoint(21, 1)), "n1"), ())
    assert all(one is other for one, other in zip(before, same, strict=True))
    changed = parts(ports(table(endpoint(21, 1), endpoint(22, 2)), "n1"), ())
    assert [one is other for one, other in zip(before, changed, strict=True)].count(False) == 2


def test_a_closed_container_is_named_and_an_open_one_is_not() -> None:
    ways = (Way(device="gv1", open=False), Way(device="gv2"))
    found = merged(MeshParts()(ports(None, "n1"), ways)).elements["closed"]
    assert [key.rstrip(b"\0") for key in found] == [b"gv1"]


def test_a_container_gets_the_address_again_that_it_had() -> None:
    assert free_address("a", 4, (), ()) == free_address("a", 4, (), ())
    assert free_address("a", 4, (), ()) != free_address("b", 4, (), ())
    assert free_address("a", 4, (free_address("a", 4, (), ()),), ()) != free_address("a", 4, (), ())


def test_gateway_addresses_avoid_the_networks_of_the_host() -> None:
    found = free_address("a", 4, (), (ip_network("172.16.0.0/12"), ip_network("fd70::/16")))
    assert found.startswith("10.239.")
    assert free_address("a", 4, (), (ip_network("0.0.0.0/0"),)).startswith("169.254.")
    assert free_address("a", 6, (), ()).startswith("fd70:7377:6172:")
