"""How many replicas a service may ask for: the swarm's own setting."""

from __future__ import annotations

from manager.rules.cluster import only_cluster
from manager.store.tables import Tables
from swarmcore.errors import Invalid
from swarmcore.model.cluster import MAX_REPLICAS_LABEL, max_replicas
from swarmcore.model.service import ServiceSpec


def check(tables: Tables, spec: ServiceSpec, before: ServiceSpec | None = None) -> None:
    """Refuse a number above the limit, unless the service had as many `before` the limit was lowered."""
    if spec.mode.name != "replicated" or not len(tables.clusters):
        return
    limit = max_replicas(only_cluster(tables.clusters).spec)
    if spec.replicas <= limit or (before is not None and spec.replicas <= before.replicas):
        return
    raise Invalid(
        f"service {spec.name} cannot have {spec.replicas} replicas: this swarm allows {limit} a service",
        f'ask for fewer, or raise the limit with "pyswarm update --max-replicas 100000" (label {MAX_REPLICAS_LABEL})',
    )
