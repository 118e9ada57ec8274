"""Endpoint tables on the way from the dispatcher to an agent, within their session.

A node is told only the networks that its tasks are on, and the ingress network. Numbers are of their own, not
those of `Assignments`; a network comes before the first task that needs it. Each update is confirmed with
`NetworksApplied` when the node's kernel, balancers and names agree with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
)

T = TypeVar("T")


class NetworkDelta(Struct, frozen=True, kw_only=True):
    """What changed on one network. With `network` and `reset` it is the whole network, else a difference."""

    network_id: str
    reset: bool = False
    network: OverlayNetwork | None = None
    nodes: tuple[OverlayNode, ...] = ()
    services: tuple[OverlayService, ...] = ()
    endpoints: tuple[OverlayEndpoint, ...] = ()
    removed_nodes: tuple[str, ...] = ()
    removed_services: tuple[str, ...] = ()
    removed_endpoints: tuple[str, ...] = ()


class NetworkUpdate(Struct, frozen=True, kw_only=True, tag="network-update"):
    """Applies to exactly the state that update `applies_to` left; `full` replaces everything.

    `revision` is the index of the log that it reflects. Parts but the last say `more` and count as one.
    """

    applies_to: int
    results_in: int
    revision: int
    full: bool = False
    more: bool = False
    deltas: tuple[NetworkDelta, ...] = ()
    removed_networks: tuple[str, ...] = ()


class NetworksApplied(Struct, frozen=True, kw_only=True, tag="networks-applied"):
    """From the agent: everything up to update `number` (its `results_in`) is in force on this host."""

    number: int


Tables = Mapping[str, NetworkTable]


def updated(tables: Tables, update: NetworkUpdate) -> Tables:
    """The tables after `update`. KeyError if it speaks of a network that was never sent: a fault of the sender."""
    found = {} if update.full else dict(tables)
    for network_id in update.removed_networks:
        found.pop(network_id, None)
    for delta in update.deltas:
        found[delta.network_id] = _changed(found.get(delta.network_id), delta, update.revision)
    return found


def _changed(table: NetworkTable | None, delta: NetworkDelta, revision: int) -> NetworkTable:
    if delta.reset or table is None:
        if delta.network is None:
            raise KeyError(f"network {delta.network_id} is not known here")
        table = NetworkTable(network=delta.network)
    nodes = {**_without(table.nodes, delta.removed_nodes), **{n.id: n for n in delta.nodes}}
    services = {**_without(table.services, delta.removed_services), **{s.id: s for s in delta.services}}
    endpoints = {**_without(table.endpoints, delta.removed_endpoints), **{e.id: e for e in delta.endpoints}}
    return replace(
        table,
        network=delta.network or table.network,
        revision=revision,
        nodes=nodes,
        services=services,
        endpoints=endpoints,
    )


def _without(items: Mapping[str, T], gone: Iterable[str]) -> dict[str, T]:
    dropped = set(gone)
    return {key: item for key, item in items.items() if key not in dropped}
