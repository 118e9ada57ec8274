"""/networks: the swarm's and this host's in one list, as Docker has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from aiohttp import web
from msgspec import Struct

from manager.store.tables import View
from pyswarmd.engine.door.context import Route, answer, body, empty, filters, node_of, said
from pyswarmd.engine.door.filters import Filters, moment
from pyswarmd.engine.shown.networks import (
    PREDEFINED_DRIVERS,
    Shown,
    carried_details,
    carried_network,
    carried_services,
    in_use,
    local_network,
    predefined,
    swarm_details,
    swarm_network,
    swarm_services,
)
from pyswarmd.engine.swarm.network_requests import check_endpoint, is_swarm, spec_of
from pyswarmd.node.connecting import Connector
from pyswarmd.node.node import Node
from swarmcore.errors import Conflict, FailedPrecondition, Forbidden, Invalid, NotFound, Unimplemented
from swarmcore.model.network import Network
from swarmcore.model.overlay import NetworkTable
from swarmcore.rpc.messages.control import CreateNetwork, RemoveNetwork
from swarmcore.text.booleans import boolean
from swarmcore.text.labels import has_label
from worker.networks.local_networks import (
    ConnectRequest,
    DisconnectRequest,
    NetworkRequest,
)

FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PRUNE_FILTERS = ("label", "label!", "until")


class Found(Struct, frozen=True, kw_only=True):
    """A network with where it comes from: the store, a worker's table, or neither (this host)."""

    shown: Shown
    used: bool = True
    item: Network | None = None
    table: NetworkTable | None = None

    @property
    def id(self) -> str:
        return str(self.shown["Id"])

    @property
    def name(self) -> str:
        return str(self.shown["Name"])

    @property
    def is_predefined(self) -> bool:
        return self.name in PREDEFINED_DRIVERS

    @property
    def is_local(self) -> bool:
        """User-defined, of this host alone."""
        return self.item is None and self.table is None and not self.is_predefined


# -- which there are -------------------------------------------------------------------------------
async def _all(node: Node, scope: str = "") -> tuple[list[Found], View | None]:
    """Every network that this host knows, of one scope or of both, and the view that they were taken from."""
    found: list[Found] = []
    view: View | None = None
    if scope != "swarm":
        found += [Found(shown=shown) for shown in predefined()]
        if node.networks is not None:
            own = node.networks.local.list()
            found += [Found(shown=local_network(item), used=bool(item.containers)) for item in own]
    if scope != "local":
        if node.status().control_available:
            view = await node.manager().read()
            found += [
                Found(shown=swarm_network(n), used=n.spec.ingress or in_use(view, n.id), item=n)
                for n in view.networks
                if not n.pending_delete
            ]
        elif node.networks is not None:
            tables = node.networks.swarm.tables.values()
            found += [Found(shown=carried_network(table), table=table) for table in tables]
    if scope == "swarm":
        found += [Found(shown=shown) for shown in predefined(swarm=True)]
    return found, view


def _pick(networks: Sequence[Found], text: str) -> Found:
    """By full id, else exact name, else unique beginning of an id."""
    for by, hits in (
        ("id", [n for n in networks if n.id == text]),
        ("name", [n for n in networks if n.name == text]),
        ("id prefix", [n for n in networks if text and n.id.startswith(text)]),
    ):
        if len(hits) > 1:
            raise Invalid(
                f"network {text} is ambiguous ({len(hits)} matches found based on {by})", "give the full id"
            )
        if hits:
            return hits[0]
    raise NotFound(f"network {text} not found")


async def find_network(node: Node, text: str, scope: str = "") -> Found:
    """By full id, name or unique beginning of an id; NotFound, or Invalid where it is ambiguous."""
    return _pick((await _all(node, scope))[0], text)


def _selected(networks: Sequence[Found], wanted: Filters) -> list[Found]:
    """Values of one key are alternatives (of `label`, all must hold), keys must all hold; names match in part."""
    kinds = wanted.get("type", [])
    for kind in kinds:
        if kind not in ("builtin", "custom"):
            raise Invalid(f"invalid filter 'type'={kind!r}", 'the types are "builtin" and "custom"')
    dangling = {boolean(value, "filter dangling") for value in wanted.get("dangling", [])}

    def fits(network: Found) -> bool:
        shown = network.shown
        kind = "builtin" if network.is_predefined else "custom"
        checks = {
            "driver": lambda values: shown["Driver"] in values,
            "id": lambda values: any(network.id.startswith(value) for value in values),
            "label": lambda values: has_label(shown["Labels"], values),
            "name": lambda values: any(value in network.name for value in values),
            "scope": lambda values: shown["Scope"] in values,
            "type": lambda values: kind in values,
            "dangling": lambda values: (not network.used and not network.is_predefined) in dangling,
        }
        return all(checks[key](values) for key, values in wanted.items() if values)

    return [network for network in networks if fits(network)]


async def ls(request: web.Request) -> web.Response:
    wanted = filters(request, FILTERS)
    networks, _ = await _all(node_of(request))
    return answer([network.shown for network in _selected(networks, wanted)])


async def inspect(request: web.Request) -> web.Response:
    scope = request.query.get("scope", "")
    if scope not in ("", "local", "swarm", "global"):
        raise Invalid(f"invalid scope {scope!r}", 'the scopes are "local" and "swarm"')
    node = node_of(request)
    networks, view = await _all(node, "swarm" if scope == "global" else scope)
    found = _pick(networks, request.match_info["id"])
    own, verbose = node.status().node_id, said(request, "verbose")
    more: Shown = {}
    if found.item is not None and view is not None:
        more = swarm_details(view, found.item, own)
        more |= {"Services": swarm_services(view, found.item)} if verbose else {}
    elif found.table is not None:
        more = carried_details(found.table, own)
        more |= {"Services": carried_services(found.table)} if verbose else {}
    # Docker leaves out lists of nobody.
    left_out = [name for name in ("Peers", "Services") if not more.get(name)]
    return answer(found.shown | {name: value for name, value in more.items() if name not in left_out})


# -- changes ---------------------------------------------------------------------------------------
async def create(request: web.Request) -> web.Response:
    warnings: list[str] = []
    wanted = await body(request, NetworkRequest, warnings)
    swarm, node = is_swarm(wanted), node_of(request)
    local = node.networks.local if node.networks is not None else None
    if local is not None and any(item.wanted.name == wanted.name for item in local.list()):
        raise Conflict(f"network with name {wanted.name} already exists")
    if swarm:
        reply = await node.manager().control.carry_out(CreateNetwork(spec=spec_of(wanted)))
        return answer({"Id": reply.id, "Warning": "; ".join((*warnings, *reply.warnings))}, 201)
    if local is None:
        raise Unimplemented(
            f"networks of this host alone (driver {wanted.driver or 'bridge'}) are not supported yet",
            "use the driver overlay",
        )
    if node.status().control_available and node.manager().store.view().networks.find("name", wanted.name):
        raise Conflict(f"network with name {wanted.name} already exists")
    created = await local.create(wanted)
    return answer({"Id": created.id, "Warning": "; ".join(warnings)}, 201)


async def remove(request: web.Request) -> web.Response:
    node = node_of(request)
    networks, _ = await _all(node)
    await _remove(node, _pick(networks, request.match_info["id"]))
    return empty(204)


async def _remove(node: Node, network: Found) -> None:
    if network.is_predefined:
        raise Forbidden(f"{network.name} is a pre-defined network and cannot be removed")
    if network.is_local and node.networks is not None:
        await node.networks.local.remove(network.id)
    else:
        await node.manager().control.carry_out(RemoveNetwork(id=network.id))


async def prune(request: web.Request) -> web.Response:
    wanted = filters(request, PRUNE_FILTERS)
    node = node_of(request)
    before = moment(wanted.get("until", []), node.clock.now())
    networks, _ = await _all(node)
    deleted = []
    for network in networks:
        spared = network.is_predefined or network.used or network.shown["ConfigOnly"]
        if spared or not _may_go(network.shown, wanted, before):
            continue
        try:
            await _remove(node, network)
        except (FailedPrecondition, NotFound):
            continue  # it came into use, or somebody else removed it, in the meantime
        deleted.append(network.name)
    return answer({"NetworksDeleted": deleted or None})


def _may_go(shown: Shown, wanted: Filters, before: datetime | None) -> bool:
    labels: Mapping[str, str] = shown["Labels"]
    if before is not None and datetime.fromisoformat(shown["Created"]) > before:
        return False
    kept = any(has_label(labels, [value]) for value in wanted.get("label!", []))
    return has_label(labels, wanted.get("label", [])) and not kept


def _connector(node: Node) -> Connector:
    if node.connector is None:
        raise Unimplemented(
            "connecting containers to networks is not supported yet",
            "services join networks with --network and --network-add",
        )
    return node.connector


async def connect(request: web.Request) -> web.Response:
    wanted = await body(request, ConnectRequest)
    check_endpoint(wanted.endpoint_config)
    node = node_of(request)
    network_id = await _named(node, request.match_info["id"], wanted.container)
    await _connector(node).connect(network_id, wanted.container, wanted.endpoint_config)
    return empty()


async def disconnect(request: web.Request) -> web.Response:
    wanted = await body(request, DisconnectRequest)
    node = node_of(request)
    network_id = await _named(node, request.match_info["id"], wanted.container)
    await _connector(node).disconnect(network_id, wanted.container, force=wanted.force)
    return empty()


async def _named(node: Node, text: str, container: str) -> str:
    """The id of the network that a container shall join or leave.

    A worker knows only the networks that it carries: the leader knows what else `text` can mean.
    """
    if not container:
        raise Invalid("no container was named", "send its id or name as Container")
    networks, _ = await _all(node)
    try:
        return _pick(networks, text).id
    except NotFound:
        status = node.status()
        if status.state != "active" or status.control_available:
            raise
        return text


ROUTES: tuple[Route, ...] = (
    ("GET", "/networks", ls),
    ("POST", "/networks/create", create),
    ("POST", "/networks/prune", prune),
    ("GET", "/networks/{id}", inspect),
    ("DELETE", "/networks/{id}", remove),
    ("POST", "/networks/{id}/connect", connect),
    ("POST", "/networks/{id}/disconnect", disconnect),
)
