"""POST /networks/check: which network is meant, and who may be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from manager.store.store import Store
from pyswarmd.engine.app import build_app
from swarmcore.clock import RealClock
from swarmcore.errors import NotManager
from swarmcore.rpc.messages.check import NetworkReport
from tests.fakes.manager_node import Containers
from tests.fakes.raft import SoloRaft
from tests.manager.checks.bench import network

Client = TestClient[web.Request, web.Application]


class AskedNode:
    networks = None
    containers, images = Containers(), None

    def __init__(self) -> None:
        self.store = Store(RealClock())
        self.store.attach(SoloRaft(self.store))
        self.asked: list[str] = []
        self.manages = True

    def status(self) -> Any:
        return SimpleNamespace(control_available=self.manages)

    async def read(self) -> Any:
        return self.store.view()

    def manager(self) -> Any:
        if not self.manages:
            raise NotManager("This node is not a swarm manager.")
        return SimpleNamespace(read=self.read, checks=self)

    async def check(self, network_id: str = "") -> NetworkReport:
        self.asked.append(network_id)
        return NetworkReport(network="shop")


@pytest.fixture
async def node() -> AskedNode:
    made = AskedNode()
    async with made.store.update() as tx:
        tx.put(network("shop1", "shop", "10.1.0.0/24"))
    return made


@pytest.fixture
async def client(node: AskedNode) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build_app(node))) as made:  # type: ignore[arg-type]
        yield made


@pytest.mark.parametrize("named", ["shop", "shop1", "sho"])
async def test_a_network_is_named_as_everywhere(client: Client, node: AskedNode, named: str) -> None:
    response = await client.post(f"/v1.41/networks/{named}/check")
    assert response.status == 200
    assert (await response.json())["Healthy"] is True
    assert node.asked == ["shop1"]


async def test_without_a_network_the_hosts_are_meant(client: Client, node: AskedNode) -> None:
    assert (await client.post("/networks/check")).status == 200
    assert node.asked == [""]


@pytest.mark.parametrize(("named", "status"), [("nope", 404), ("host", 400)])
async def test_what_is_no_network_of_the_swarm_is_refused(
    client: Client, node: AskedNode, named: str, status: int
) -> None:
    assert (await client.post(f"/networks/{named}/check")).status == status
    assert node.asked == []


async def test_a_worker_says_whom_to_ask(client: Client, node: AskedNode) -> None:
    node.manages = False
    assert (await client.post("/networks/check")).status == 503
