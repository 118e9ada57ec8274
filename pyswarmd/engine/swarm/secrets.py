"""/secrets and /configs: kept and listed; services take them with a later release, which refuses them until then."""

from __future__ import annotations

from aiohttp import web

from manager.control import filters as select
from manager.control.lookup import lookup
from pyswarmd.engine.door.context import Route, answer, body, empty, filters, manager_of, version
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


async def list_secrets(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    view = await manager_of(request).read()
    return answer([objects.secret(item) for item in select.secrets(view, wanted)])


async def create_secret(request: web.Request) -> web.Response:
    wanted = CreateSecret(spec=await body(request, SecretSpec))
    reply = await manager_of(request).control.carry_out(wanted)
    return answer({"ID": reply.id}, 201)


async def inspect_secret(request: web.Request) -> web.Response:
    view = await manager_of(request).read()
    return answer(objects.secret(lookup(view.secrets, request.match_info["id"], "secret")))


async def update_secret(request: web.Request) -> web.Response:
    spec = await body(request, SecretSpec)
    wanted = UpdateSecret(id=request.match_info["id"], version=version(request), spec=spec)
    await manager_of(request).control.carry_out(wanted)
    return empty()


async def remove_secret(request: web.Request) -> web.Response:
    await manager_of(request).control.carry_out(RemoveSecret(id=request.match_info["id"]))
    return empty(204)


async def list_configs(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    view = await manager_of(request).read()
    return answer([objects.config(item) for item in select.configs(view, wanted)])


async def create_config(request: web.Request) -> web.Response:
    wanted = CreateConfig(spec=await body(request, ConfigSpec))
    reply = await manager_of(request).control.carry_out(wanted)
    return answer({"ID": reply.id}, 201)


async def inspect_config(request: web.Request) -> web.Response:
    view = await manager_of(request).read()
    return answer(objects.config(lookup(view.configs, request.match_info["id"], "config")))


async def update_config(request: web.Request) -> web.Response:
    spec = await body(request, ConfigSpec)
    wanted = UpdateConfig(id=request.match_info["id"], version=version(request), spec=spec)
    await manager_of(request).control.carry_out(wanted)
    return empty()


async def remove_config(request: web.Request) -> web.Response:
    await manager_of(request).control.carry_out(RemoveConfig(id=request.match_info["id"]))
    return empty(204)


ROUTES: tuple[Route, ...] = (
    ("GET", "/secrets", list_secrets),
    ("POST", "/secrets/create", create_secret),
    ("GET", "/secrets/{id}", inspect_secret),
    ("POST", "/secrets/{id}/update", update_secret),
    ("DELETE", "/secrets/{id}", remove_secret),
    ("GET", "/configs", list_configs),
    ("POST", "/configs/create", create_config),
    ("GET", "/configs/{id}", inspect_config),
    ("POST", "/configs/{id}/update", update_config),
    ("DELETE", "/configs/{id}", remove_config),
)
