"""/nodes: the swarm's members."""

from __future__ import annotations

from aiohttp import web

from manager.control import filters as select
from manager.control.lookup import lookup
from pyswarmd.engine.door.context import Route, answer, asked, body, empty, filters, node_of, version
from pyswarmd.engine.swarm import views
from swarmcore.model.node import NodeSpec
from swarmcore.rpc.messages.control import RemoveNode, UpdateNode

FILTERS = ("id", "label", "membership", "name", "node.label", "role")


async def ls(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    node = node_of(request)
    view = await node.read()
    raft = node.raft_status()
    return answer([views.node(item, raft) for item in select.nodes(view, wanted)])


async def inspect(request: web.Request) -> web.Response:
    node = node_of(request)
    view = await node.read()
    return answer(views.node(lookup(view.nodes, request.match_info["id"], "node"), node.raft_status()))


async def update(request: web.Request) -> web.Response:
    """Answers when a change of role has been carried out: the next request finds the node in it."""
    spec, node = await body(request, NodeSpec), node_of(request)
    update = UpdateNode(id=request.match_info["id"], version=version(request), spec=spec)
    reply = await node.control(update)
    await node.role_taken(reply.id, spec.role)
    return empty()


async def remove(request: web.Request) -> web.Response:
    await node_of(request).control(RemoveNode(id=request.match_info["id"], force=asked(request, "force")))
    return empty()


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes", ls),
    ("GET", "/nodes/{id}", inspect),
    ("POST", "/nodes/{id}/update", update),
    ("DELETE", "/nodes/{id}", remove),
)
