"""Capabilities of containers: Docker's, as far as the host has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmcore.errors import Invalid
from swarmcore.model.linux import CAPABILITIES, DEFAULT_CAPABILITIES
from worker.runtime import capabilities


def test_capabilities_are_added_and_dropped_in_any_spelling() -> None:
    assert len(DEFAULT_CAPABILITIES) == 14
    assert capabilities.effective(("net_admin",), ("CAP_MKNOD",)) == DEFAULT_CAPABILITIES - {"CAP_MKNOD"} | {
        "CAP_NET_ADMIN"
    }
    assert capabilities.effective((), ("ALL",)) == frozenset()
    assert capabilities.effective(("CHOWN",), ("all",)) == {"CAP_CHOWN"}
    assert "CAP_SYS_ADMIN" in capabilities.effective(("ALL",), ())
    with pytest.raises(Invalid, match="unknown capability CAP_FLY"):
        capabilities.effective(("fly",), ())


def test_everything_means_everything_that_the_host_has() -> None:
    host = CAPABILITIES - {"CAP_CHECKPOINT_RESTORE", "CAP_MKNOD"}
    assert capabilities.effective(("ALL",), (), host) == host
    assert capabilities.effective((), (), host) == DEFAULT_CAPABILITIES - {"CAP_MKNOD"}
    with pytest.raises(Invalid, match="this host does not have the capability CAP_MKNOD"):
        capabilities.effective(("MKNOD",), (), host)


def test_the_host_says_what_it_has(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapBnd:\t00000000a80425fb\n")  # what Docker gives to a container of its own
    assert capabilities.of_host(status) == DEFAULT_CAPABILITIES
    assert capabilities.named_in((1 << 41) - 1) == CAPABILITIES
    assert capabilities.named_in(1 << 63) == frozenset()  # a newer kernel's
