"""What Docker has and this version does not is refused with 501, so that clients say why and fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from pyswarmd.engine.app import build_app
from tests.fakes.manager_node import ManagerNode

Client = TestClient[web.Request, web.Application]

# Docker's routes (API 1.41 to 1.52), less those of swarm mode, images and networks that are served.
ROUTES = """
GET /containers/json · POST /containers/create · GET /containers/x/top · GET /containers/x/logs
GET /containers/x/stats · GET /containers/x/changes · GET /containers/x/export · HEAD /containers/x/archive
GET /containers/x/archive · PUT /containers/x/archive · POST /containers/x/start · POST /containers/x/stop
POST /containers/x/restart · POST /containers/x/kill · POST /containers/x/pause · POST /containers/x/unpause
POST /containers/x/resize · POST /containers/x/update · POST /containers/x/rename · POST /containers/x/wait
POST /containers/x/attach · GET /containers/x/attach/ws · POST /containers/prune · DELETE /containers/x
POST /containers/x/exec · POST /exec/x/start · POST /exec/x/resize · GET /exec/x/json
POST /commit · POST /build · POST /build/prune · POST /build/cancel · POST /session · POST /grpc
GET /images/search · POST /images/a/b/push · GET /images/get · GET /images/a/b/get · GET /images/a/b/history
POST /images/prune · POST /images/create?fromImage=a · GET /distribution/a/b/json · POST /auth
GET /volumes · POST /volumes/create · POST /volumes/prune · PUT /volumes/x · DELETE /volumes/x
GET /plugins · GET /plugins/privileges · POST /plugins/pull · POST /plugins/create · POST /plugins/a/b/enable
POST /plugins/a/b/disable · POST /plugins/a/b/push · POST /plugins/a/b/upgrade · POST /plugins/a/b/set
DELETE /plugins/a/b · GET /containers/x/checkpoints · GET /events · GET /system/df
"""


@pytest.fixture
async def node(tmp_path: Path) -> ManagerNode:
    return await ManagerNode(tmp_path).begin()


@pytest.fixture
async def client(node: ManagerNode) -> AsyncIterator[Client]:
    async with TestClient(TestServer(build_app(node))) as client:  # type: ignore[arg-type]
        yield client


@pytest.mark.parametrize(
    "route", [each.strip() for each in ROUTES.replace("\n", "·").split("·") if each.strip()]
)
async def test_a_route_of_docker_s_that_is_not_served_is_501_and_one_line(client: Client, route: str) -> None:
    method, path = route.split()
    for prefix in ("", "/v1.41"):
        response = await client.request(method, prefix + path)
        assert response.status == 501
        if method != "HEAD":
            message = (await response.json())["message"]
            assert "not supported yet" in message and "\n" not in message


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/containers/web/json", "No such container: web"),
        ("/volumes/web", "get web: no such volume"),
        ("/plugins/web/json", 'plugin "web" not found'),
    ],
)
async def test_docker_inspect_goes_on_to_the_next_kind_of_object(
    client: Client, path: str, message: str
) -> None:
    response = await client.get(path)
    assert (response.status, (await response.json())["message"]) == (404, message)


async def test_what_is_here_is_not_denied(client: Client, node: ManagerNode) -> None:
    node.containers.names.add("web.1.x")
    node.containers.volumes.names.add("abc")
    assert (await client.get("/containers/web.1.x/json")).status == 501
    assert (await client.get("/volumes/abc")).status == 501
