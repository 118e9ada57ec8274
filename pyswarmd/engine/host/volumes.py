"""/volumes of this host: those of images are here, without a name that anybody gave them."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pyswarmd.engine.door.context import Route
from pyswarmd.engine.host.parts import VOLUMES
from swarmcore.errors import NotFound, Unimplemented


async def inspect(request: web.Request) -> web.Response:
    """404 where there is none: `docker inspect NAME` goes on to the next kind of object then."""
    name = request.match_info["id"]
    if any(volume.name == name for volume in await asyncio.to_thread(request.app[VOLUMES].list)):
        raise Unimplemented("not supported yet: inspecting volumes", "")
    raise NotFound(f"get {name}: no such volume", "")


ROUTES: tuple[Route, ...] = (("GET", "/volumes/{id}", inspect),)
