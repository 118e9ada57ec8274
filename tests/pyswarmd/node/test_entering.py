"""Every way into a swarm ends in it, or leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from pyswarmd.node.membership import InitOptions, JoinOptions
from swarmcore.errors import Conflict, FailedPrecondition, SwarmError, Unavailable
from tests.pyswarmd.node.test_taking_up import Host


def traces(folder: Path) -> set[str]:
    """What tells of a membership."""
    return {path.name for path in folder.iterdir()} & {"certificates", "raft", "node.json", "worker.db"}


async def test_a_swarm_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    name, _, port = host.address.partition(":")
    async with host.daemon() as (node, _):
        with socket.create_server((name, int(port))), pytest.raises(Conflict, match="cannot listen on"):
            await host.init(node)
        assert (node.status().state, traces(tmp_path)) == ("inactive", set())
        await host.init(node)
        assert node.status().state == "active"
        assert traces(tmp_path) == {"certificates", "raft", "node.json", "worker.db"}


async def test_a_node_that_is_not_let_in_keeps_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with host.daemon() as (node, _):
        for options in (JoinOptions(), JoinOptions(remotes=("nonsense",)), JoinOptions(remotes=("a:1",))):
            with pytest.raises(SwarmError):
                await node.join(options)
            assert (node.status().state, traces(tmp_path)) == ("inactive", set())


async def test_nobody_enters_twice(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with host.daemon() as (node, _):
        await host.init(node)
        for again in (node.init(InitOptions()), node.join(JoinOptions(remotes=(host.address,)))):
            with pytest.raises(Unavailable, match="already part of a swarm"):
                await again


async def test_a_recovery_needs_a_managers_state_and_keeps_its_id_and_address(tmp_path: Path) -> None:
    host = Host(tmp_path)
    wanted = InitOptions(force_new_cluster=True)
    async with host.daemon() as (node, _):
        with pytest.raises(FailedPrecondition, match="needs a manager's state"):
            await node.init(wanted)
        await host.init(node)
        before = node.status()
        assert await node.init(wanted) == before.node_id
        after = node.status()
        assert (after.state, after.address, after.managers) == ("active", before.address, before.managers)
