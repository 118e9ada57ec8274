"""/tasks: attempts to run a service on a node."""

from __future__ import annotations

from aiohttp import web

from manager.control import filters as select
from manager.control.lookup import lookup_task
from pyswarmd.engine import views
from pyswarmd.engine.context import Route, answer, filters, node_of

FILTERS = ("_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service")


async def ls(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    view = await node_of(request).read()
    return answer([views.task(item, view.networks) for item in select.tasks(view, wanted)])


async def inspect(request: web.Request) -> web.Response:
    view = await node_of(request).read()
    return answer(views.task(lookup_task(view.tasks, request.match_info["id"]), view.networks))


ROUTES: tuple[Route, ...] = (
    ("GET", "/tasks", ls),
    ("GET", "/tasks/{id}", inspect),
)
