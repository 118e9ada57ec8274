"""/nodes: the swarm's members."""

from __future__ import annotations

from aiohttp import web

from manager.control import filters as select
from manager.control.lookup import lookup
from pyswarmd.engine.door.context import (
    Route,
    answer,
    asked,
    body,
    empty,
    filters,
    manager_of,
    node_of,
    version,
)
from pyswarmd.engine.shown import objects
from pyswarmd.node.role_change import role_taken
from swarmcore.model.node import NodeSpec
from swarmcore.rpc.messages.control import RemoveNode, UpdateNode

FILTERS = ("id", "label", "membership", "name", "node.label", "role")


async def ls(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    manager = manager_of(request)
    view = await manager.read()
    raft = manager.raft.status()
    return answer([objects.node(item, raft) for item in select.nodes(view, wanted)])


async def inspect(request: web.Request) -> web.Response:
    manager = manager_of(request)
    found = lookup((await manager.read()).nodes, request.match_info["id"], "node")
    return answer(objects.node(found, manager.raft.status()))


async def update(request: web.Request) -> web.Response:
    """Answers when a change of role has been carried out: the next request finds the node in it."""
    spec, node = await body(request, NodeSpec), node_of(request)
    wanted = UpdateNode(id=request.match_info["id"], version=version(request), spec=spec)
    reply = await node.manager().control.carry_out(wanted)
    await role_taken(node, node.clock, reply.id, spec.role)
    return empty()


async def remove(request: web.Request) -> web.Response:
    wanted = RemoveNode(id=request.match_info["id"], force=asked(request, "force"))
    await manager_of(request).control.carry_out(wanted)
    return empty()


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes", ls),
    ("GET", "/nodes/{id}", inspect),
    ("POST", "/nodes/{id}/update", update),
    ("DELETE", "/nodes/{id}", remove),
)
