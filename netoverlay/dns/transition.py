"""What names mean while the kernel changes over from one state of the tables to the next. Pure.

Reachable first, then named; on the way out, unnamed first. So in between only what is in both states is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from msgspec.structs import replace

from swarmcore.model.overlay import NetworkTable, OverlayEndpoint, OverlayService

Tables = Mapping[str, NetworkTable]


def between(before: Tables, after: Tables) -> Tables:
    """The tables to name by until the kernel agrees with `after`. Those without news are the same objects."""
    found: dict[str, NetworkTable] = {}
    for network_id, table in after.items():
        old = before.get(network_id)
        if old is not None:  # what is new on this host as a whole has no name yet
            found[network_id] = table if old is table else _between(old, table)
    return found


def _between(old: NetworkTable, new: NetworkTable) -> NetworkTable:
    fresh = {id for id, each in new.endpoints.items() if _is_fresh(old.endpoints.get(id), each)}
    changed = {id for id, each in new.services.items() if _has_news(old.services.get(id), each)}
    if not fresh and not changed:
        return new
    services = dict(new.services)
    for id in changed:
        if (known := old.services.get(id)) is None:
            del services[id]
        else:
            services[id] = replace(
                new.services[id], vips=tuple(vip for vip in new.services[id].vips if vip in known.vips)
            )
    endpoints = {**new.endpoints, **{id: replace(new.endpoints[id], active=False) for id in fresh}}
    return replace(new, services=services, endpoints={**endpoints, **_kept(old, new, endpoints, fresh)})


def _is_fresh(old: OverlayEndpoint | None, new: OverlayEndpoint) -> bool:
    """It gets a name, or names another address than it did."""
    if not new.active or old is new:
        return False
    return old is None or not old.active or old.addresses != new.addresses


def _has_news(old: OverlayService | None, new: OverlayService) -> bool:
    return old is not new and (old is None or not set(new.vips) <= set(old.vips))


def _kept(
    old: NetworkTable, new: NetworkTable, endpoints: Mapping[str, OverlayEndpoint], fresh: set[str]
) -> dict[str, OverlayEndpoint]:
    """Where all replicas of a service are exchanged at once, those that drain keep the name until then: they are still
    reachable, and a name without any address fails at once."""
    left: defaultdict[str, int] = defaultdict(int)
    for each in endpoints.values():
        left[each.service_id] += each.active
    exchanged = {new.endpoints[id].service_id for id in fresh if not left[new.endpoints[id].service_id]}
    return {
        id: replace(each, active=True)
        for id, each in endpoints.items()
        if each.service_id in exchanged
        and (known := old.endpoints.get(id)) is not None
        and known.active
        and known.addresses == each.addresses
    }
