"""Versions, headers and routes of the Engine API, over a daemon that is in no swarm."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pyswarmd.config import VERSION, Settings
from pyswarmd.engine.app import build_app
from pyswarmd.engine.swarm.swarm import InitRequest, JoinRequest
from pyswarmd.node.node import Node
from swarmcore.addresses import split
from swarmcore.clock import RealClock
from swarmcore.errors import Invalid
from tests.fakes.hostile import documents
from tests.fakes.no_containers import no_containers
from worker.images.store import ImageStore
from worker.tasks.executor import ContainerExecutor

Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    images = ImageStore(tmp_path / "images")
    await images.open()
    settings = Settings(state_dir=tmp_path, run_dir=tmp_path / "run", hostname="m1")
    containers = no_containers(tmp_path, images)
    node = Node(settings, images, containers, ContainerExecutor(containers), RealClock())
    async with TestClient(TestServer(build_app(node))) as client:
        yield client


async def test_ping_announces_version_and_swarm_state(client: Client) -> None:
    response = await client.get("/_ping")
    assert await response.text() == "OK"
    assert response.headers["Api-Version"] == "1.41"
    assert response.headers["Ostype"] == "linux"
    assert response.headers["Swarm"] == "inactive"
    head = await client.head("/_ping")
    assert (head.status, head.headers["Api-Version"]) == (200, "1.41")


@pytest.mark.parametrize("prefix", ["", "/v1.12", "/v1.22", "/v1.24", "/v1.41"])
async def test_every_announced_version_is_served(client: Client, prefix: str) -> None:
    body = await (await client.get(f"{prefix}/version")).json()
    assert (body["ApiVersion"], body["MinAPIVersion"]) == ("1.41", "1.12")


async def test_the_engine_s_version_compares_as_a_current_one_and_says_whose_it_is(client: Client) -> None:
    shown = await (await client.get("/version")).json()
    number, _, ours = shown["Version"].partition("+")
    assert tuple(map(int, number.split("."))) >= (28, 0, 0)
    assert ours == f"pyswarm{VERSION}"
    components = {each["Name"]: each for each in shown["Components"]}
    assert components["Engine"]["Version"] == shown["Version"]
    assert components["pyswarm"]["Version"] == VERSION
    assert shown["Platform"]["Name"] == f"pyswarm {VERSION}"
    assert shown["GoVersion"]
    assert (await (await client.get("/info")).json())["ServerVersion"] == shown["Version"]


@pytest.mark.parametrize(
    ("version", "why"), [("1.42", "too new"), ("2.0", "too new"), ("1.11", "too old"), ("0.9", "too old")]
)
async def test_other_versions_are_refused(client: Client, version: str, why: str) -> None:
    response = await client.get(f"/v{version}/version")
    assert response.status == 400
    assert f"client version {version} is {why}" in (await response.json())["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1.41/nonsense"), ("PUT", "/v1.41/services")])
async def test_an_unknown_path_is_404_in_json(client: Client, method: str, path: str) -> None:
    """One that Docker has for another method, too."""
    response = await client.request(method, path)
    assert response.status == 404
    assert (await response.json())["message"] == f"page not found: {method} {path}"
    assert response.headers["Api-Version"] == "1.41"


@pytest.mark.parametrize("path", ["/nodes", "/services", "/tasks", "/swarm", "/secrets", "/configs"])
async def test_a_node_in_no_swarm_says_how_to_get_into_one(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 503
    assert 'Use "pyswarm init" or "pyswarm join"' in (await response.json())["message"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/services/create", b'{"Name":', "not valid JSON"),
        ("/swarm/init", b'{"AutoLockManagers": true}', "autolock has no behaviour yet"),
        (
            "/swarm/init",
            b'{"DataPathPort": 80}',
            "Datapath port number is not in valid range (1024-49151) : 80",
        ),
        (
            "/swarm/init",
            b'{"DefaultAddrPool": ["10.0.0.0/8"], "SubnetSize": 4}',
            'invalid CIDR: "10.0.0.0/8". Subnet size is too small for pool: 4',
        ),
        ("/services/web/update?version=x", b"{}", "invalid version 'x'"),
        ("/services/web/update?version=%C2%B2", b"{}", "invalid version"),
        ("/services/web/update?version=1&rollback=next", b"{}", "invalid rollback"),
        ("/services/web/update?version=1&registryAuthFrom=me", b"{}", "invalid registryAuthFrom 'me'"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
async def test_a_wrong_request_is_400_and_says_what_is_wrong(
    client: Client, path: str, body: bytes, message: str
) -> None:
    response = await client.post(path, data=body)
    assert response.status == 400
    assert message in (await response.json())["message"]


# Addresses that no host has: whatever one field says, the other keeps a swarm from being made.
NOWHERE = {"ListenAddr": "nowhere:x", "AdvertiseAddr": "nowhere:y"}


@pytest.mark.parametrize(
    ("path", "kind", "base"),
    [
        ("/swarm/init", InitRequest, NOWHERE),
        ("/swarm/join", JoinRequest, NOWHERE | {"RemoteAddrs": ["127.0.0.1:1"], "JoinToken": "x"}),
    ],
    ids=["init", "join"],
)
async def test_nothing_about_a_new_swarm_is_an_internal_error(
    client: Client, path: str, kind: Any, base: dict[str, Any]
) -> None:
    found: dict[str, str] = {}
    for what, body in documents(kind, base):
        response = await client.post(path, data=body)
        if response.status not in (400, 401, 503):
            found[what] = f"{response.status}: {(await response.text())[:200]}"
    assert found == {}


@pytest.mark.parametrize(
    "address",
    [
        "",
        ":2377",
        "a..b:1",
        "a b:1",
        "a/b:1",
        "h:0",
        "h:65536",
        "h:²",
        "h:" + "1" * 5000,
        "[::1:2377",
        "::1:5",
    ],
)
def test_an_address_that_nobody_can_dial_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match="invalid address"):
        split(address)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("10.0.0.1:2377", ("10.0.0.1", 2377)),
        ("[fd00::1]:1", ("fd00::1", 1)),
        ("manager-1.example.org:65535", ("manager-1.example.org", 65535)),
        ("eth0:4000", ("eth0", 4000)),
    ],
)
def test_addresses_and_their_ports(address: str, parts: tuple[str, int]) -> None:
    assert split(address) == parts


async def test_an_unknown_filter_is_refused_before_anything_is_read(client: Client) -> None:
    response = await client.get("/services", params={"filters": '{"colour":["red"]}'})
    assert response.status == 400


async def test_registries_are_refused_until_they_work(client: Client) -> None:
    assert (await client.post("/images/create?fromImage=alpine&tag=3")).status == 501
    assert (await client.get("/distribution/alpine/json")).status == 501


async def test_images_of_an_empty_host(client: Client) -> None:
    assert await (await client.get("/images/json")).json() == []
    assert (await client.get("/images/none:latest/json")).status == 404


async def test_metrics_are_served_as_prometheus_reads_them(client: Client) -> None:
    response = await client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = (await response.text()).splitlines()
    assert "# TYPE pyswarm_containers_running gauge" in lines
    assert "pyswarm_containers_running 0.0" in lines


async def test_a_daemon_without_networking_lists_the_predefined_networks_and_connects_nothing(
    client: Client,
) -> None:
    """Up to Python 3.11 `isinstance` with a protocol asked a property that raised; from 3.12 on it does not."""
    names = {network["Name"] for network in await (await client.get("/networks")).json()}
    assert names == {"bridge", "host", "none"}
    response = await client.post("/networks/bridge/connect", json={"Container": "c1"})
    assert response.status in (403, 501), await response.text()


@pytest.mark.parametrize(
    "path", ["services/create", "secrets/create", "configs/create", "swarm/update?version=1"]
)
async def test_what_is_wrong_with_a_request_is_said_before_what_is_wrong_with_the_node(
    client: Client, path: str
) -> None:
    assert (await client.post(f"/{path}", data=b"{")).status == 400
    assert (await client.post(f"/{path}", data=b"{}")).status == 503
