"""The swarm's own object, by which every writer about the swarm as a whole goes."""

from __future__ import annotations

from manager.store.tables import Reader
from swarmcore.errors import NotFound
from swarmcore.model.cluster import Cluster


def only_cluster(table: Reader[Cluster]) -> Cluster:
    """The swarm's own object: there is exactly one once the swarm is initialised."""
    for cluster in table:
        return cluster
    raise NotFound("the swarm has no settings yet", hint="it is still starting: try again")
