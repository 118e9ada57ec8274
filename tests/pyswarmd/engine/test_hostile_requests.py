"""Whatever a request holds, the answer is the caller's fault or a success: never an internal error."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from pyswarmd.engine.app import build_app
from swarmcore.errors import SwarmError
from swarmcore.model.cluster import SwarmSpec
from swarmcore.model.codec import decode_spec
from swarmcore.model.network import NetworkSpec
from swarmcore.model.node import NodeSpec
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.model.service import ServiceSpec
from swarmcore.rpc.messages.control import CreateConfig, CreateNetwork, CreateSecret, CreateService
from tests.fakes.hostile import NUMBERS, TEXTS, documents, fields, with_value
from tests.fakes.manager_node import ManagerNode
from tests.manager.control.bench import Bench
from worker.networks.local_networks import ConnectRequest, DisconnectRequest, NetworkRequest

Client = TestClient[web.Request, web.Application]
SERVICE = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "app:1"}}}
BODIES: tuple[tuple[str, str, Any, dict[str, Any]], ...] = (
    ("POST", "/services/create", ServiceSpec, SERVICE),
    ("POST", "/networks/create", NetworkRequest, {"Name": "shop", "Driver": "overlay"}),
    ("POST", "/secrets/create", SecretSpec, {"Name": "s", "Data": "eA=="}),
    ("POST", "/configs/create", ConfigSpec, {"Name": "c", "Data": "eA=="}),
    ("POST", "/nodes/n1/update?version=1", NodeSpec, {"Role": "worker", "Availability": "active"}),
    ("POST", "/swarm/update?version=1", SwarmSpec, {"Name": "default"}),
    ("POST", "/networks/host/connect", ConnectRequest, {"Container": "c"}),
    ("POST", "/networks/host/disconnect", DisconnectRequest, {"Container": "c"}),
)
QUERIES = {
    "GET /services": ("filters", "status"),
    "GET /services/web1": ("insertDefaults",),
    "POST /services/web1/update": ("version", "rollback", "registryAuthFrom"),
    "GET /services/web1/logs": ("since", "tail", "follow", "stdout", "stderr", "timestamps", "details"),
    "GET /tasks/t1/logs": ("since", "tail", "stdout"),
    "GET /tasks": ("filters",),
    "GET /nodes": ("filters",),
    "POST /nodes/n1/update": ("version",),
    "DELETE /nodes/n1": ("force",),
    "GET /networks": ("filters",),
    "GET /networks/host": ("scope", "verbose"),
    "POST /networks/prune": ("filters",),
    "GET /secrets": ("filters",),
    "POST /secrets/s1/update": ("version",),
    "GET /configs": ("filters",),
    "POST /configs/c1/update": ("version",),
    "POST /swarm/update": ("version", "rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"),
    "GET /images/json": ("filters", "all"),
    "POST /images/create": ("fromSrc", "fromImage", "repo", "tag", "changes", "message"),
    "POST /images/app/tag": ("repo", "tag"),
    "DELETE /images/app": ("force", "noprune"),
}
FILTER_KEYS = (
    *(
        "id",
        "name",
        "names",
        "label",
        "label!",
        "mode",
        "runtime",
        "node",
        "service",
        "desired-state",
        "_up-to-date",
    ),
    *(
        "role",
        "membership",
        "node.label",
        "dangling",
        "driver",
        "scope",
        "type",
        "until",
        "reference",
        "colour",
    ),
)
PATHS = (
    *(
        "/services/{}",
        "/services/{}/logs",
        "/tasks/{}",
        "/nodes/{}",
        "/networks/{}",
        "/secrets/{}",
        "/configs/{}",
    ),
    *("/images/{}/json", "/distribution/{}/json", "/v{}/version", "/v1.{}/version", "/{}"),
)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    node = await ManagerNode(tmp_path).begin()
    await node.bench.create("web1")
    await node.bench.node("n1")
    async with TestClient(TestServer(build_app(node))) as client:  # type: ignore[arg-type]
        yield client


async def fault(client: Client, method: str, path: str, **options: Any) -> str:
    """What is wrong with the answer; empty when it is a success, or the caller is told what he did."""
    response = await client.request(method, URL(path, encoded=True), **options)
    return wrong_in(response.status, await response.text())


def wrong_in(status: int, text: str) -> str:
    if status >= 500 and status not in (501, 503):
        return f"{status}: {text[:200]}"
    if status >= 400 and (len(text) > 2000 or not json.loads(text)["message"]):
        return f"{len(text)} characters of message: {text[:200]}"
    return ""


@pytest.mark.parametrize(("method", "path", "kind", "base"), BODIES, ids=[path for _, path, _, _ in BODIES])
async def test_no_field_of_a_body_is_an_internal_error(
    client: Client, method: str, path: str, kind: Any, base: dict[str, Any]
) -> None:
    faults: dict[str, str] = {}
    for what, body in documents(kind, base):
        response = await client.request(method, path, data=body)
        if wrong := wrong_in(response.status, await response.text()):
            faults[what] = wrong
        elif response.status == 201 and (gone := await forgotten(client, path.removesuffix("/create"))):
            faults[what] = gone
    assert faults == {}


async def forgotten(client: Client, path: str) -> str:
    """What was made is listed and removed again, so that the next one meets no conflict."""
    listed = await client.get(path)
    if listed.status != 200:
        return f"list: {listed.status}"
    for item in await listed.json():
        item_id = item.get("ID") or item.get("Id")
        if item_id != "id-web1" and item.get("Scope") != "local":
            for method, place in (("GET", f"{path}/{item_id}"), ("DELETE", f"{path}/{item_id}")):
                response = await client.request(method, place)
                if response.status >= 300:
                    return f"{method}: {response.status} {await response.text()}"
    return ""


@pytest.mark.parametrize("route", QUERIES)
async def test_no_query_value_is_an_internal_error(client: Client, route: str) -> None:
    method, _, path = route.partition(" ")
    found: dict[str, str] = {}
    texts = [*(text for text in TEXTS if len(text) < 6000), *(str(n) for n in NUMBERS), "\udcff", "[" * 2000]
    for name in QUERIES[route]:
        for text in texts:
            query = f"{path}?{name}={quote(text, safe='', errors='surrogateescape')}"
            more = "&stdout=1" if "logs" in path and name != "stdout" else ""
            more += "&version=1" if "update" in path and name != "version" else ""
            if wrong := await fault(client, method, query + more, data=b"{}"):
                found[f"{name}={text[:40]!r}"] = wrong
    assert found == {}


@pytest.mark.parametrize("route", [route for route, names in QUERIES.items() if "filters" in names])
async def test_no_filter_is_an_internal_error(client: Client, route: str) -> None:
    method, _, path = route.partition(" ")
    shapes: list[Any] = [
        *([text] for text in TEXTS if len(text) < 1000),
        {"a": False},
        {"a": 1},
        [1],
        None,
        "x",
        {},
        [],
    ]
    found: dict[str, str] = {}
    for key in FILTER_KEYS:
        for value in shapes:
            text = quote(json.dumps({key: value}))
            if len(text) < 7000 and (wrong := await fault(client, method, f"{path}?filters={text}")):
                found[f"{key}={str(value)[:40]!r}"] = wrong
    assert found == {}


@pytest.mark.parametrize("path", PATHS)
async def test_no_path_is_an_internal_error(client: Client, path: str) -> None:
    found: dict[str, str] = {}
    for text in [*(text for text in TEXTS if len(text) < 6000), *(str(n) for n in NUMBERS), "\udcff"]:
        asked = path.replace("{}", quote(text, safe="", errors="surrogateescape"))
        for method in ("GET", "POST", "DELETE"):
            response = await client.request(method, URL(asked, encoded=True))
            if response.status >= 500 and response.status not in (501, 503):
                found[f"{method} {text[:40]!r}"] = f"{response.status}: {(await response.text())[:200]}"
    assert found == {}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CREATES: tuple[tuple[type[Any], Any, dict[str, Any]], ...] = (
    (ServiceSpec, CreateService, SERVICE),
    (NetworkSpec, CreateNetwork, {"Name": "shop"}),
    (SecretSpec, CreateSecret, {"Name": "s", "Data": "eA=="}),
    (ConfigSpec, CreateConfig, {"Name": "c", "Data": "eA=="}),
)


@pytest.mark.parametrize(
    ("kind", "request_of", "base"), CREATES, ids=[kind.__name__ for kind, _, _ in CREATES]
)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_several_odd_fields_at_once_are_refused_or_stored(
    kind: Any, request_of: Any, base: dict[str, Any], data: st.DataObject
) -> None:
    document = base
    for path, _ in data.draw(st.lists(st.sampled_from(list(fields(kind))), min_size=1, max_size=5)):
        document = with_value(document, path, data.draw(JSON))

    async def once() -> None:
        bench = await Bench().begin()
        await bench.control.carry_out(
            request_of(id="i", spec=decode_spec(json.dumps(document).encode(), kind))
        )

    with contextlib.suppress(SwarmError), asyncio.Runner() as runner:
        runner.run(once())


async def test_a_switch_that_docker_reads_strictly_is_refused_when_it_is_not_understood(
    client: Client,
) -> None:
    for path in ("/services?status=yes", "/networks/host?verbose=yes"):
        response = await client.get(path)
        assert (response.status, "invalid value 'yes'" in await response.text()) == (400, True)
    response = await client.get("/networks", params={"filters": '{"dangling":["yes"]}'})
    assert response.status == 400
