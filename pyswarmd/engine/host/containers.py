"""/containers of this host: those of tasks are here, and cannot be shown yet."""

from __future__ import annotations

from aiohttp import web

from pyswarmd.engine.door.context import Route
from pyswarmd.engine.host.parts import CONTAINERS
from swarmcore.errors import NotFound, Unimplemented


async def inspect(request: web.Request) -> web.Response:
    """404 where there is none: `docker inspect NAME` goes on to the next kind of object then."""
    name = request.match_info["id"]
    if request.app[CONTAINERS].has(name):
        raise Unimplemented(
            "not supported yet: inspecting containers", "inspect its task, whose id is the end of its name"
        )
    raise NotFound(f"No such container: {name}", "")


ROUTES: tuple[Route, ...] = (("GET", "/containers/{id}/json", inspect),)
