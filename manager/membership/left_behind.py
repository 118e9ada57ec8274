"""After `--force-new-cluster`: the managers that the swarm was recovered without are none of its nodes any more.

They may be alive, with valid certificates and a majority among themselves. Whatever they ask here is refused, and says
why; they can leave with --force and join anew.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from msgspec.structs import replace

from manager.rules.cluster import only_cluster
from manager.rules.removal import take_out
from manager.store.tx import Tx
from swarmcore.model.generation import Generation
from swarmcore.model.node import NodeRole


def leave_behind(tx: Tx, staying: Collection[str], generation: Generation, now: datetime) -> tuple[str, ...]:
    """Take out all managers but those in `staying`, once for each generation. Returns their ids."""
    if only_cluster(tx.clusters).generation == generation:
        return ()
    # One that was being promoted counts as a manager: it may have joined those that are left behind.
    managers = [node for node in tx.nodes if NodeRole.MANAGER in (node.role, node.spec.role)]
    gone = tuple(sorted(node.id for node in managers if node.id not in staying))
    for node in managers:
        if node.id in gone:
            take_out(tx, node, now)
    cluster = only_cluster(tx.clusters)
    everybody = (*cluster.left_behind, *gone)
    tx.clusters.put(replace(cluster, generation=generation, left_behind=everybody))
    return gone
