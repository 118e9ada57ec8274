"""Network updates: what they make of the tables that an agent has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmcore.model.overlay import OverlayEndpoint, OverlayNetwork, OverlayNode, OverlayService
from swarmcore.rpc.messages.networks import NetworkDelta, NetworksApplied, NetworkUpdate, Tables, updated
from swarmcore.rpc.messages.session import ToAgent, ToDispatcher

SHOP = OverlayNetwork(id="shop", name="shop")


def delta(network: OverlayNetwork | None = SHOP, *, reset: bool = False, **entries: Any) -> NetworkDelta:
    return NetworkDelta(network_id="shop", network=network, reset=reset, **entries)


def update(*deltas: NetworkDelta, full: bool = False, **content: Any) -> NetworkUpdate:
    return NetworkUpdate(applies_to=0, results_in=1, revision=9, full=full, deltas=deltas, **content)


def endpoint(name: str, **content: Any) -> OverlayEndpoint:
    return OverlayEndpoint(id=name, node_id="n1", name=name, **content)


FILLED = updated(
    {},
    update(
        delta(
            nodes=(OverlayNode(id="n1", vtep="192.0.2.1"),),
            services=(OverlayService(id="s1", name="web"),),
            endpoints=(endpoint("a"), endpoint("b")),
        )
    ),
)


def test_a_difference_puts_and_removes_entries_and_leaves_the_rest() -> None:
    tables = updated(
        FILLED,
        update(
            delta(
                None,
                endpoints=(endpoint("b", active=True), endpoint("c")),
                removed_endpoints=("a",),
                removed_services=("s1",),
            )
        ),
    )
    table = tables["shop"]
    assert dict(table.endpoints) == {"b": endpoint("b", active=True), "c": endpoint("c")}
    assert (dict(table.services), set(table.nodes), table.revision) == ({}, {"n1"}, 9)
    assert set(FILLED["shop"].endpoints) == {"a", "b"}, "the tables before are not touched"


def test_a_reset_forgets_what_was_known_of_the_network() -> None:
    table = updated(FILLED, update(delta(reset=True, endpoints=(endpoint("c"),))))["shop"]
    assert (set(table.endpoints), set(table.nodes), set(table.services)) == ({"c"}, set(), set())


def test_a_full_update_forgets_all_networks_and_others_go_one_by_one() -> None:
    assert updated(FILLED, update(full=True)) == {}
    assert updated(FILLED, update(removed_networks=("shop", "never-known"))) == {}
    assert updated(FILLED, update()) == FILLED


def test_a_difference_to_nothing_is_a_fault_of_the_sender() -> None:
    with pytest.raises(KeyError, match="shop"):
        updated({}, update(delta(None, endpoints=(endpoint("a"),))))


ENDPOINTS = st.dictionaries(st.sampled_from("abcdef"), st.booleans())


@given(st.lists(ENDPOINTS, min_size=1))
def test_differences_on_the_wire_lead_from_any_table_to_any_other(states: list[dict[str, bool]]) -> None:
    tables: Tables = {}
    before: dict[str, bool] = {}
    for state in states:
        message = update(
            delta(
                endpoints=tuple(endpoint(n, active=a) for n, a in state.items() if before.get(n) is not a),
                removed_endpoints=tuple(before.keys() - state.keys()),
            )
        )
        arrived = msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToAgent)
        assert isinstance(arrived, NetworkUpdate)
        tables = updated(tables, arrived)
        assert {e.id: e.active for e in tables["shop"].endpoints.values()} == state
        before = state


def test_confirmations_pass_the_wire() -> None:
    message = NetworksApplied(number=3)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=ToDispatcher) == message
