"""A daemon whose place in the swarm cannot be taken up: it serves, says why, and the hint that it gives works."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from pyswarmd.cli.main import build
from pyswarmd.client import EngineClient
from pyswarmd.config import Settings
from pyswarmd.engine.app import build_app
from pyswarmd.node.membership import InitOptions
from pyswarmd.node.node import Node
from swarmcore.clock import RealClock
from swarmcore.errors import Unavailable
from tests.fakes.no_containers import no_containers
from tests.worker.sample import until
from worker.images.store import ImageStore
from worker.tasks.executor import ContainerExecutor


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Host:
    """A machine with a state directory; `daemon` runs one on it. Nothing here needs root."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder, run_dir=folder / "run", hostname="m1")
        self.address = f"127.0.0.1:{free_port()}"

    @asynccontextmanager
    async def daemon(self) -> AsyncIterator[tuple[Node, EngineClient]]:
        images = ImageStore(self.settings.state_dir / "images")
        await images.open()
        containers = no_containers(self.settings.state_dir, images)
        node = Node(self.settings, images, containers, ContainerExecutor(containers), RealClock())
        await node.start()
        try:
            async with (
                TestServer(build_app(node)) as server,
                EngineClient(f"tcp://127.0.0.1:{server.port}") as client,
            ):
                yield node, client
        finally:
            await node.close()

    async def init(self, node: Node) -> None:
        await node.init(InitOptions(listen=self.address, advertise=self.address))


@pytest.fixture
async def manager(tmp_path: Path) -> Host:
    """Its daemon made a swarm and ended."""
    host = Host(tmp_path)
    async with host.daemon() as (node, _):
        await host.init(node)
    return host


async def run(client: EngineClient, *words: str) -> int:
    options = build().parse_args(list(words))
    return int(await options.run(client, options) or 0)


def garbled(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(b"x" * 200)


DAMAGE: dict[str, Callable[[Settings], None]] = {
    "certificate": lambda at: garbled(at.certificates / "swarm-node.pem"),
    "root": lambda at: garbled(at.certificates / "swarm-root-ca.crt"),
    "data key": lambda at: garbled(at.certificates / "raft-dek"),
    "no addresses": lambda at: at.local_state.unlink(),
    "addresses": lambda at: garbled(at.local_state),
    "journal": lambda at: garbled(*at.raft_dir.iterdir()),
}


@pytest.mark.parametrize("kind", sorted(DAMAGE))
async def test_what_cannot_be_used_is_said_and_can_be_left(manager: Host, kind: str) -> None:
    DAMAGE[kind](manager.settings)
    async with manager.daemon() as (node, client):
        swarm = (await client.get("/info"))["Swarm"]
        assert swarm["LocalNodeState"] == "error"
        assert "pyswarm leave --force" in swarm["Error"]
        with pytest.raises(Unavailable) as refused:
            await client.get("/services")
        assert str(refused.value) in swarm["Error"] and refused.value.hint
        with pytest.raises(Unavailable, match="already part of a swarm"):
            await run(client, "init")
        with pytest.raises(Unavailable, match="cannot take up its place"):
            await run(client, "leave")
        assert await run(client, "leave", "--force") == 0
        assert (await client.get("/info"))["Swarm"]["LocalNodeState"] == "inactive"
        await manager.init(node)
        assert (await client.get("/info"))["Swarm"]["LocalNodeState"] == "active"
    async with manager.daemon() as (_, client):
        assert len(await client.get("/nodes")) == 1


async def test_a_port_that_is_in_use_is_tried_again(manager: Host, caplog: pytest.LogCaptureFixture) -> None:
    host, _, port = manager.address.partition(":")
    with socket.create_server((host, int(port))):
        async with manager.daemon() as (node, client):
            swarm = (await client.get("/info"))["Swarm"]
            assert swarm["LocalNodeState"] == "error" and "cannot listen" in swarm["Error"]
    with socket.create_server((host, int(port))) as other:
        async with manager.daemon() as (node, client):
            assert node.status().state == "error"
            other.close()
            await until(lambda: node.status().state == "active")
            assert len(await client.get("/nodes")) == 1
    assert "ERROR" not in {record.levelname for record in caplog.records}


async def test_a_node_that_waits_for_its_port_can_leave(manager: Host) -> None:
    host, _, port = manager.address.partition(":")
    with socket.create_server((host, int(port))):
        async with manager.daemon() as (node, client):
            assert await run(client, "leave", "--force") == 0
            assert node.status().state == "inactive"
