"""What the wiring says of sandboxes that are not there; the rest is in tests/netoverlay/test_host.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from netoverlay.containers.sandboxes import Join, SandboxSpec
from netoverlay.wiring.wiring import Repairs, Wiring
from swarmcore.errors import NotFound

LOST = SandboxSpec(id="c" * 25, task_id="t1")


@pytest.mark.root
def test_a_sandbox_that_is_gone_has_nothing_and_gets_nothing(tmp_path: Path) -> None:
    wiring = Wiring(tmp_path / "netns")
    try:
        assert (wiring.path(LOST), wiring.spec(LOST.id), wiring.namespace(LOST.id)) == (None, None, None)
        assert wiring.live_connections(LOST) == 0
        assert wiring.part(LOST.id, "n1", "02:00:00:00:00:01") is None
        join = Join(network_id="n1", interface="eth0", mac="02:00:00:00:00:01", addresses=("10.0.0.2/24",))
        with pytest.raises(NotFound, match="no network namespace"):
            wiring.join(LOST.id, join, {})
        wiring.release(LOST)
        assert wiring.reconcile() == Repairs()
    finally:
        wiring.close()
