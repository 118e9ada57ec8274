"""Certificates for tests: a root, and nodes whose keystores it filled."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pki.csr import make_csr
from pki.keys import new_key
from pki.keystore import KeyStore
from pki.root import NODE_LIFE, RootAuthority
from swarmcore.model.node import NodeRole

CLUSTER = "cluster0000000000000000aa"


def node(
    root: RootAuthority,
    directory: Path,
    node_id: str = "node1",
    role: NodeRole = NodeRole.WORKER,
    *,
    cluster: str = CLUSTER,
    life: timedelta = NODE_LIFE,
    kek: bytes | None = None,
) -> KeyStore:
    keystore = KeyStore(directory / node_id, kek)
    key = new_key()
    keystore.save(key, root.sign(make_csr(key), node_id, role, cluster, life), root.cert_pem)
    return keystore
