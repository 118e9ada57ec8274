"""The balancing value: who takes new connections, and what stays the same object."""

from __future__ import annotations

from msgspec.structs import replace

from netoverlay.containers.vip import Balancing, VirtualService, balancing
from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNetwork, OverlayService

WEB = OverlayService(id="web", name="web", vips=("10.5.0.2", "fd05::2"))


def endpoint(name: str, number: int, *, service: str = "web", active: bool = True) -> OverlayEndpoint:
    addresses = (f"10.5.0.{number}", f"fd05::{number}")
    return OverlayEndpoint(
        id=name, node_id="n", name=name, service_id=service, addresses=addresses, active=active
    )


def table(*endpoints: OverlayEndpoint, network: str = "net", service: OverlayService = WEB) -> NetworkTable:
    return NetworkTable(
        network=OverlayNetwork(id=network, name=network),
        services={service.id: service},
        endpoints={each.id: each for each in endpoints},
    )


def services(value: Balancing) -> list[VirtualService]:
    return [service for network in value.networks for service in network.services]


def test_each_family_leads_to_the_active_endpoints_of_its_own() -> None:
    found = balancing(
        {"net": table(endpoint("b", 11), endpoint("a", 10), endpoint("c", 12, active=False))}, ["net"]
    )
    assert [(each.vip, each.targets) for each in services(found)] == [
        ("10.5.0.2", ("10.5.0.10", "10.5.0.11")),
        ("fd05::2", ("fd05::10", "fd05::11")),
    ]


def test_endpoints_of_other_services_and_of_none_take_nothing() -> None:
    found = balancing({"net": table(endpoint("a", 10, service="db"), endpoint("b", 11, service=""))}, ["net"])
    assert [each.targets for each in services(found)] == [(), ()]


def test_a_service_by_names_alone_has_no_virtual_address() -> None:
    dnsrr = OverlayService(id="web", name="web", mode=EndpointMode.DNSRR, vips=("10.5.0.2",))
    assert services(balancing({"net": table(endpoint("a", 10), service=dnsrr)}, ["net"])) == []


def test_only_the_asked_networks_that_are_known_count() -> None:
    tables = {name: table(endpoint("a", 10), network=name) for name in ("net", "other")}
    found = balancing(tables, ["other", "unknown", "other"])
    assert [each.network_id for each in found.networks] == ["other"]
    assert balancing(tables, []) == Balancing()


def test_networks_that_did_not_change_are_the_same_objects_for_all_containers() -> None:
    first = {"net": table(endpoint("a", 10)), "other": table(endpoint("b", 11), network="other")}
    one = balancing(first, ["net", "other"])
    second = {"net": replace(first["net"], revision=7), "other": table(endpoint("b", 12), network="other")}
    two, three = balancing(second, ["net", "other"]), balancing(second, ["net"])
    assert one.networks[0] is two.networks[0] is three.networks[0]
    assert one.networks[1] != two.networks[1]
