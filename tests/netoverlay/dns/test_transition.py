"""Names while the kernel changes over: whatever is named was reachable before and will be afterwards."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from netoverlay.dns.records import Names
from netoverlay.dns.transition import between
from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayNetwork, OverlayService

NETWORK = OverlayNetwork(id="n1", name="shop")
SERVICES = ("web", "api")


def endpoint(number: int, service: str = "web", place: int = 0, *, active: bool = True) -> OverlayEndpoint:
    return OverlayEndpoint(
        id=f"t{number}",
        node_id="w1",
        name=f"{service}.{number}",
        service_id=service,
        addresses=(f"10.1.0.{place or 10 + number}",),
        active=active,
    )


def service(name: str = "web", *vips: str) -> OverlayService:
    return OverlayService(id=name, name=name, mode=EndpointMode.VIP, vips=vips)


def table(services: list[OverlayService], endpoints: list[OverlayEndpoint]) -> NetworkTable:
    return NetworkTable(
        network=NETWORK, services={s.id: s for s in services}, endpoints={e.id: e for e in endpoints}
    )


def named(tables: Mapping[str, NetworkTable]) -> dict[str, set[str]]:
    names = Names(tables["n1"]).addresses
    return {
        name.decode(): {".".join(map(str, address)) for address in found} for name, found in names.items()
    }


ENDPOINTS = st.lists(
    st.builds(
        endpoint,
        st.integers(1, 4),
        st.sampled_from(SERVICES),
        st.sampled_from([0, 0, 0, 11, 99]),
        active=st.booleans(),
    ),
    max_size=5,
)
TABLES = st.builds(
    table,
    st.lists(
        st.sampled_from(SERVICES).flatmap(
            lambda name: st.sampled_from([(), ("10.1.0.2",), ("10.1.0.3",)]).map(lambda v: service(name, *v))
        ),
        max_size=2,
    ),
    ENDPOINTS,
)


def reachable(one: NetworkTable, active: bool) -> set[tuple[str, str]]:
    """Who is where: virtual addresses by service, and endpoints by their own id."""
    virtual = {(each.id, vip) for each in one.services.values() for vip in each.vips}
    return virtual | {
        (each.id, address)
        for each in one.endpoints.values()
        for address in each.addresses
        if each.active or not active
    }


@given(TABLES, TABLES)
def test_what_is_named_was_named_before_and_is_there_afterwards(old: NetworkTable, new: NetworkTable) -> None:
    found = between({"n1": old}, {"n1": new})["n1"]
    assert reachable(found, active=True) <= reachable(old, active=True) & reachable(new, active=False)
    assert found.endpoints.keys() == new.endpoints.keys()


@given(TABLES)
def test_what_stays_stays_named(one: NetworkTable) -> None:
    again = {"n1": one}
    assert between(again, again)["n1"] is one
    assert between({"n1": one}, {"n1": table(list(one.services.values()), list(one.endpoints.values()))})[
        "n1"
    ] == table(list(one.services.values()), list(one.endpoints.values()))


def test_names_come_after_and_go_before() -> None:
    web = service("web")
    old = {"n1": table([web], [endpoint(1), endpoint(2)])}
    new = {"n1": table([web, service("api")], [endpoint(1), endpoint(3), endpoint(4, "api")])}
    assert named(between(old, new))["tasks.web"] == {"10.1.0.11"}
    assert "api" not in named(between(old, new))
    assert named(new)["tasks.web"] == {"10.1.0.11", "10.1.0.13"}


def test_a_network_that_comes_has_no_names_yet_and_one_that_goes_none_any_more() -> None:
    one = table([service()], [endpoint(1)])
    assert between({}, {"n1": one}) == {}
    assert between({"n1": one}, {}) == {}


def test_where_all_replicas_are_exchanged_those_that_drain_keep_the_name() -> None:
    old = {"n1": table([service()], [endpoint(1), endpoint(2)])}
    new = {"n1": table([service()], [endpoint(1, active=False), endpoint(3)])}
    assert named(between(old, new))["web"] == {"10.1.0.11"}
    gone = {"n1": table([service()], [endpoint(3)])}
    assert named(between(old, gone))["web"] == set()


def test_a_virtual_address_is_named_once_it_is_balanced() -> None:
    old = {"n1": table([service("web")], [endpoint(1)])}
    new = {"n1": table([service("web", "10.1.0.2")], [endpoint(1)])}
    assert named(between(old, new))["web"] == {"10.1.0.11"}
    assert named(new)["web"] == {"10.1.0.2"}
    assert named(between(new, old))["web"] == {"10.1.0.11"}
