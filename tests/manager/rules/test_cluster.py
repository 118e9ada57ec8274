"""The swarm's own object, before and after there is one."""

from __future__ import annotations

import pytest

from manager.rules.cluster import only_cluster
from swarmcore.errors import NotFound
from swarmcore.model.cluster import Cluster
from tests.fakes.raft import solo_store


async def test_a_swarm_that_is_still_starting_has_no_settings_to_show() -> None:
    store, _ = solo_store()
    with pytest.raises(NotFound, match="no settings yet"):
        only_cluster(store.view().clusters)
    async with store.update() as tx:
        tx.put(Cluster(id="c"))
    assert only_cluster(store.view().clusters).id == "c"
