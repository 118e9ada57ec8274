"""What it means that a node is removed: it is gone, and its certificate opens nothing any more."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from manager.rules.cluster import only_cluster
from manager.store.tx import Tx
from pki.root import NODE_LIFE, load_certificate
from swarmcore.model.node import Node

BLACKLIST_MARGIN = timedelta(days=7)


def take_out(tx: Tx, node: Node, now: datetime) -> None:
    """Remove the node; its certificate is refused as long as it could be shown, then nobody would accept it anyway."""
    cluster = only_cluster(tx.clusters)
    kept = {name: until for name, until in cluster.blacklisted_certificates.items() if until > now}
    blacklist = kept | {node.id: _expiry(node, now) + BLACKLIST_MARGIN}
    tx.clusters.put(replace(cluster, blacklisted_certificates=blacklist))
    tx.nodes.delete(node.id)


def _expiry(node: Node, now: datetime) -> datetime:
    if node.certificate is None or not node.certificate.pem:
        return now + NODE_LIFE
    return load_certificate(node.certificate.pem).not_valid_after_utc
