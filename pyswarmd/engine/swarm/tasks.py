"""/tasks: attempts to run a service on a node."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from manager.control import filters as select
from manager.control.lookup import lookup_task
from manager.store.tables import Reader
from pyswarmd.engine.door.context import Route, answer, filters, manager_of, raw_answer
from pyswarmd.engine.shown import objects
from swarmcore.aio import STRETCH, Turns, in_turns, stretches
from swarmcore.model.network import Network
from swarmcore.model.task import Task

FILTERS = ("_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service")


async def ls(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    view = await manager_of(request).read()
    chosen = await in_turns(select.tasks_in_turns(view, wanted))
    return raw_answer(await in_turns(_shown_in_turns(chosen, view.networks)))


def _shown_in_turns(tasks: Sequence[Task], networks: Reader[Network]) -> Turns[bytes]:
    """A JSON list: there may be very many, and others must have their turns."""
    parts: list[bytes] = []
    for some in stretches(tasks):
        parts.append(msgspec.json.encode([objects.task(item, networks) for item in some])[1:-1])
        if len(some) == STRETCH:
            yield
    return b"[" + b",".join(parts) + b"]"


async def inspect(request: web.Request) -> web.Response:
    view = await manager_of(request).read()
    return answer(objects.task(lookup_task(view.tasks, request.match_info["id"]), view.networks))


ROUTES: tuple[Route, ...] = (
    ("GET", "/tasks", ls),
    ("GET", "/tasks/{id}", inspect),
)
