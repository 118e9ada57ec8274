"""The aiohttp application: versioned paths, Docker's headers, one route table from all nouns."""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from pyswarmd.config import API_VERSION, MIN_API_VERSION, VERSION
from pyswarmd.engine.door import unserved
from pyswarmd.engine.door.context import NODE, Route
from pyswarmd.engine.door.errors import error_response, errors_as_json
from pyswarmd.engine.host import images, metrics, system
from pyswarmd.engine.swarm import logs, network_check, networks, nodes, secrets, services, swarm, tasks
from pyswarmd.node.node import Node
from swarmcore.errors import clipped
from swarmcore.text.patterns import Pattern

_VERSION = Pattern(r"/v([0-9]+)\.([0-9]+)/", 16384)  # longer than aiohttp takes a path
_DIGITS = 9  # of one part of a version
MAX_BODY = 16 << 20  # of a JSON body; archives are streamed and have no limit
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {
    "Api-Version": API_VERSION,
    "Ostype": "linux",
    "Server": f"pyswarm/{VERSION} ({platform.system().lower()})",
    "Docker-Experimental": "false",
}


def _pair(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


def _refusal(path: str) -> str | None:
    """Why the version in this path is not served; None when it is, or when there is none."""
    match = _VERSION.match(path)
    if match is None:
        return None
    if len(match[1]) > _DIGITS or len(match[2]) > _DIGITS:
        return f"client version {clipped(match[0])} is no version"
    asked = (int(match[1]), int(match[2]))
    shown = f"{asked[0]}.{asked[1]}"
    if asked > _pair(API_VERSION):
        return f"client version {shown} is too new. Maximum supported API version is {API_VERSION}"
    if asked < _pair(MIN_API_VERSION):
        return (
            f"client version {shown} is too old. Minimum supported API version is {MIN_API_VERSION}, "
            "please upgrade your client to a newer version"
        )
    return None


@web.middleware
async def versions(request: web.Request, handler: Handler) -> web.StreamResponse:
    """`/v1.41/nodes` is `/nodes`, for every version in the range that is announced."""
    if (refusal := _refusal(request.path)) is not None:
        return error_response(400, refusal)
    return await handler(request)


async def _docker_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def routes() -> Iterator[Route]:
    """Everything that is served, with and without a version before it."""
    for module in (
        system,
        swarm,
        nodes,
        network_check,
        networks,
        services,
        tasks,
        secrets,
        images,
        logs,
        metrics,
        unserved,
    ):
        for method, path, handler in module.ROUTES:
            for prefix in ("", "/v{version:[0-9]+[.][0-9]+}"):
                yield method, prefix + path, handler


def build_app(node: Node) -> web.Application:
    app = web.Application(middlewares=[errors_as_json, versions], client_max_size=MAX_BODY)
    app[NODE] = node
    app.on_response_prepare.append(_docker_headers)
    for method, path, handler in routes():
        app.router.add_route(method, path, handler)
    return app
