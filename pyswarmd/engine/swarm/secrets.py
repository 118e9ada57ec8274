"""/secrets and /configs: created, listed, relabelled and removed. Both go one way, by a table of two rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web
from msgspec import Struct

from manager.control import filters as select
from manager.control.lookup import lookup
from manager.store.tables import Reader, View
from pyswarmd.engine.door.context import Route, answer, body, empty, filters, manager_of, version
from pyswarmd.engine.door.filters import Filters
from pyswarmd.engine.shown import objects
from swarmcore.model.secret import ConfigSpec, SecretSpec
from swarmcore.rpc.messages.control import (
    CreateConfig,
    CreateSecret,
    RemoveConfig,
    RemoveSecret,
    UpdateConfig,
    UpdateSecret,
)

FILTERS = ("id", "label", "name", "names")


class Kind(Struct, frozen=True, kw_only=True):
    """What tells one of both from the other. `shown` makes the JSON object that clients see."""

    name: str
    table: Callable[[View], Reader[Any]]
    chosen: Callable[[View, Filters], Iterator[Any]]
    shown: Callable[[Any], dict[str, Any]]
    spec: type[SecretSpec] | type[ConfigSpec]
    create: Callable[..., CreateSecret | CreateConfig]
    update: Callable[..., UpdateSecret | UpdateConfig]
    remove: Callable[..., RemoveSecret | RemoveConfig]

    def routes(self) -> tuple[Route, ...]:
        path = f"/{self.name}s"
        return (
            ("GET", path, self.list),
            ("POST", f"{path}/create", self.make),
            ("GET", f"{path}/{{id}}", self.inspect),
            ("POST", f"{path}/{{id}}/update", self.relabel),
            ("DELETE", f"{path}/{{id}}", self.delete),
        )

    async def list(self, request: web.Request) -> web.Response:
        wanted = filters(request, FILTERS)
        view = await manager_of(request).read()
        return answer([self.shown(item) for item in self.chosen(view, wanted)])

    async def make(self, request: web.Request) -> web.Response:
        wanted = self.create(spec=await body(request, self.spec))
        reply = await manager_of(request).control.carry_out(wanted)
        return answer({"ID": reply.id}, 201)

    async def inspect(self, request: web.Request) -> web.Response:
        view = await manager_of(request).read()
        return answer(self.shown(lookup(self.table(view), request.match_info["id"], self.name)))

    async def relabel(self, request: web.Request) -> web.Response:
        spec = await body(request, self.spec)
        wanted = self.update(id=request.match_info["id"], version=version(request), spec=spec)
        await manager_of(request).control.carry_out(wanted)
        return empty()

    async def delete(self, request: web.Request) -> web.Response:
        await manager_of(request).control.carry_out(self.remove(id=request.match_info["id"]))
        return empty(204)


SECRETS = Kind(
    name="secret",
    table=lambda view: view.secrets,
    chosen=select.secrets,
    shown=objects.secret,
    spec=SecretSpec,
    create=CreateSecret,
    update=UpdateSecret,
    remove=RemoveSecret,
)
CONFIGS = Kind(
    name="config",
    table=lambda view: view.configs,
    chosen=select.configs,
    shown=objects.config,
    spec=ConfigSpec,
    create=CreateConfig,
    update=UpdateConfig,
    remove=RemoveConfig,
)
ROUTES: tuple[Route, ...] = (*SECRETS.routes(), *CONFIGS.routes())
