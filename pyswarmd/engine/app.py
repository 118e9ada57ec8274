"""The aiohttp application, put together: one route table from all nouns, behind the door, with the host below them."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from pyswarmd.engine.door import unserved
from pyswarmd.engine.door.context import NODE, Route
from pyswarmd.engine.door.errors import errors_as_json
from pyswarmd.engine.door.versions import PREFIX, docker_headers, versions
from pyswarmd.engine.host import containers, images, metrics, system, volumes
from pyswarmd.engine.host.parts import CONTAINERS, IMAGES, VOLUMES
from pyswarmd.engine.swarm import logs, network_check, networks, nodes, secrets, services, swarm, tasks
from pyswarmd.node.node import Node

MAX_BODY = 16 << 20  # of a JSON body; archives are streamed and have no limit


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
        containers,
        volumes,
        logs,
        metrics,
        unserved,
    ):
        for method, path, handler in module.ROUTES:
            for prefix in ("", PREFIX):
                yield method, prefix + path, handler


def build_app(node: Node) -> web.Application:
    app = web.Application(middlewares=[errors_as_json, versions], client_max_size=MAX_BODY)
    app[NODE] = node
    app[CONTAINERS] = node.containers
    app[IMAGES] = node.images
    app[VOLUMES] = node.containers.volumes
    app.on_response_prepare.append(docker_headers)
    for method, path, handler in routes():
        app.router.add_route(method, path, handler)
    return app
