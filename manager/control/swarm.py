"""Writes about the swarm as a whole: its settings and its join tokens."""

from __future__ import annotations

from msgspec.structs import replace

from manager.rules.cluster import only_cluster
from manager.rules.swarm_spec import swarm_change
from manager.store.tx import Tx
from pki.tokens import new_join_token
from swarmcore.errors import OutOfSequence, Unsupported
from swarmcore.model.cluster import JoinTokens
from swarmcore.rpc.messages.control import ControlReply, UpdateSwarm


def update(tx: Tx, request: UpdateSwarm) -> ControlReply:
    cluster = only_cluster(tx.clusters)
    if cluster.version.index != request.version:
        raise OutOfSequence(
            f"update out of sequence: the swarm is at version {cluster.version.index}, not {request.version}"
        )
    if request.rotate_unlock_key:
        raise Unsupported("autolock has no behaviour yet")
    spec = swarm_change(cluster.spec, request.spec)
    tokens, root = cluster.root_ca.join_tokens, cluster.root_ca.ca_cert
    rotated = JoinTokens(
        worker=new_join_token(root) if request.rotate_worker_token else tokens.worker,
        manager=new_join_token(root) if request.rotate_manager_token else tokens.manager,
    )
    # Unchanged, too: each update is a new version.
    tx.clusters.put(replace(cluster, spec=spec, root_ca=replace(cluster.root_ca, join_tokens=rotated)))
    return ControlReply(id=cluster.id)
