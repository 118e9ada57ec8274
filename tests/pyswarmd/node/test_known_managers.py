"""Whom this node knows is on the disk soon after a session has told it."""

from __future__ import annotations

from pathlib import Path

from pyswarmd.node.known_managers import KnownManagers
from pyswarmd.node.membership import LocalState
from swarmcore.aio import owned
from swarmcore.rpc.messages.session import ManagerAddress
from tests.worker.sample import until

BEFORE = LocalState(listen="0.0.0.0:2377", advertise="10.0.0.1:2377")
MANAGERS = (ManagerAddress(node_id="m1", address="10.0.0.9:2377"),)


def on_disk(path: Path) -> LocalState | None:
    return LocalState.load(path) if path.exists() else None


async def test_what_is_told_is_known_at_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    known = KnownManagers(BEFORE, path)
    async with owned(known.run(), "known managers"):
        await until(lambda: on_disk(path) == BEFORE)
        known.are(MANAGERS)
        assert (known.local.managers, known.local.advertise) == (MANAGERS, BEFORE.advertise)
        await until(lambda: on_disk(path) == known.local)


async def test_it_may_be_started_again_and_writes_what_holds_then(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "node.json"
    known = KnownManagers(BEFORE, path)
    async with owned(known.run(), "known managers"):
        pass
    known.are(MANAGERS)
    path.parent.mkdir()
    async with owned(known.run(), "known managers"):
        await until(lambda: on_disk(path) == known.local)
    assert known.local.managers == MANAGERS
