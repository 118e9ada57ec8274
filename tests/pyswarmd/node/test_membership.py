"""What a node keeps on disk about its place in a swarm, and what it never tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyswarmd.node.membership import JoinOptions, LocalState
from swarmcore.errors import FailedPrecondition
from swarmcore.rpc.messages.session import ManagerAddress


def test_local_state_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    state = LocalState(
        listen="0.0.0.0:2377",
        advertise="10.0.0.1:2377",
        managers=(ManagerAddress(node_id="m1", address="10.0.0.1:2377"),),
    )
    path = tmp_path / "node.json"
    state.save(path)
    assert LocalState.load(path) == state
    assert path.stat().st_mode & 0o077 == 0
    LocalState.forget(path)
    LocalState.forget(path)
    assert not path.exists()


def test_missing_or_damaged_local_state_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    with pytest.raises(FailedPrecondition, match="is missing") as missing:
        LocalState.load(path)
    assert "join again" in missing.value.hint
    path.write_bytes(b'{"listen": 3')
    with pytest.raises(FailedPrecondition, match="is damaged"):
        LocalState.load(path)


def test_a_join_token_never_reaches_a_log() -> None:
    assert "SWMTKN" not in repr(JoinOptions(remotes=("10.0.0.1:2377",), token="SWMTKN-1-secret"))
