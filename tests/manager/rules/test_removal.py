"""A removed node: gone from the store, its certificate refused for as long as it could be shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from manager.rules.removal import BLACKLIST_MARGIN, take_out
from pki.root import NODE_LIFE
from swarmcore.model.cluster import Cluster
from swarmcore.model.node import Node
from tests.fakes.raft import solo_store

NOW = datetime(2030, 1, 1, tzinfo=UTC)


async def test_a_removed_nodes_certificate_is_refused_until_it_has_expired_and_then_forgotten() -> None:
    store, _ = solo_store()
    past, future = NOW - timedelta(days=1), NOW + timedelta(days=1)
    async with store.update() as tx:
        tx.put(Cluster(id="c", blacklisted_certificates={"long gone": past, "gone": future}))
        tx.put(Node(id="n1"))
    async with store.update() as tx:
        take_out(tx, Node(id="n1"), NOW)
    view = store.view()
    (cluster,) = view.clusters
    assert "n1" not in view.nodes
    assert cluster.blacklisted_certificates == {
        "gone": future,
        "n1": NOW + NODE_LIFE + BLACKLIST_MARGIN,  # it told of none, so the longest that one may live
    }
