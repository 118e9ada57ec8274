"""Which ports lead where, out of the ingress network's table: no kernel is asked."""

from __future__ import annotations

from msgspec.structs import replace

from netoverlay.mesh.ports import Port, Way, gone, host_ports, ports
from swarmcore.model.endpoint import PortConfig, Protocol, PublishMode
from tests.netoverlay.mesh.hosts import published
from tests.netoverlay.mesh.tables import endpoint, table

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
