"""/services: what the swarm shall run."""

from __future__ import annotations

import asyncio

from aiohttp import web
from msgspec.structs import replace

from manager.control import filters as select
from manager.control.lookup import lookup
from manager.control.status import service_status
from pyswarmd.engine.door.context import Route, answer, body, empty, filters, manager_of, said, version
from pyswarmd.engine.shown import objects
from pyswarmd.engine.shown.networks import PREDEFINED_IDS
from swarmcore.errors import Invalid
from swarmcore.model.network import NetworkAttachmentConfig
from swarmcore.model.service import ServiceSpec
from swarmcore.rpc.messages.control import CreateService, RemoveService, UpdateService

FILTERS = ("id", "label", "mode", "name", "runtime")


async def ls(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    view = await manager_of(request).read()
    found = []
    for item in select.services(view, wanted):
        shown = objects.service(item)
        if said(request, "status"):
            shown["ServiceStatus"] = objects.builtins(service_status(view, item))
            await asyncio.sleep(0)  # it has looked at all tasks of the service
        found.append(shown)
    return answer(found)


async def create(request: web.Request) -> web.Response:
    warnings: list[str] = []
    spec = await _spec(request, warnings)
    reply = await manager_of(request).control.carry_out(CreateService(spec=spec))
    return answer({"ID": reply.id, "Warnings": [*warnings, *reply.warnings] or None}, 201)


async def _spec(request: web.Request, warnings: list[str]) -> ServiceSpec:
    """The body, with the predefined networks under their names: other hosts know them by nothing else."""
    spec = await body(request, ServiceSpec, warnings)
    template = spec.task_template
    return replace(
        spec,
        networks=_by_name(spec.networks),
        task_template=replace(template, networks=_by_name(template.networks)),
    )


def _by_name(networks: tuple[NetworkAttachmentConfig, ...]) -> tuple[NetworkAttachmentConfig, ...]:
    return tuple(replace(one, target=PREDEFINED_IDS.get(one.target, one.target)) for one in networks)


async def inspect(request: web.Request) -> web.Response:
    view = await manager_of(request).read()
    found = lookup(view.services, request.match_info["id"], "service")
    return answer(objects.service(found, defaults=said(request, "insertDefaults")))


async def update(request: web.Request) -> web.Response:
    rollback, warnings = _rollback(request), list[str]()
    if (source := request.query.get("registryAuthFrom", "")) not in ("", "spec", "previous-spec"):
        raise Invalid(f"invalid registryAuthFrom {source!r}", 'the values are "spec" and "previous-spec"')
    wanted = UpdateService(
        id=request.match_info["id"],
        version=version(request),
        spec=None if rollback else await _spec(request, warnings),
        rollback=rollback,
    )
    reply = await manager_of(request).control.carry_out(wanted)
    return answer({"Warnings": [*warnings, *reply.warnings] or None})


def _rollback(request: web.Request) -> bool:
    """`?rollback=`: the docker command says none where it means no rollback (from version 29 on)."""
    match request.query.get("rollback", ""):
        case "" | "none":
            return False
        case "previous":
            return True
        case other:
            raise Invalid(f"invalid rollback {other!r}", 'the values are "none" and "previous"')


async def remove(request: web.Request) -> web.Response:
    await manager_of(request).control.carry_out(RemoveService(id=request.match_info["id"]))
    return empty()


ROUTES: tuple[Route, ...] = (
    ("GET", "/services", ls),
    ("POST", "/services/create", create),
    ("GET", "/services/{id}", inspect),
    ("POST", "/services/{id}/update", update),
    ("DELETE", "/services/{id}", remove),
)
