"""/swarm: this node's membership, and the settings of the whole swarm."""

from __future__ import annotations

from aiohttp import web
from msgspec import field

from manager.membership.bootstrap import check_pools
from pyswarmd.engine.door.context import Route, answer, asked, body, empty, manager_of, node_of, said, version
from pyswarmd.engine.shown import objects
from pyswarmd.node.addresses import check_data_path_port
from pyswarmd.node.membership import InitOptions, JoinOptions
from swarmcore.errors import NotFound, Unavailable, Unsupported
from swarmcore.model.base import Part
from swarmcore.model.cluster import SwarmSpec
from swarmcore.model.node import Availability
from swarmcore.rpc.messages.control import UpdateSwarm


class InitRequest(Part, frozen=True, kw_only=True):
    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    data_path_port: int = 0
    default_addr_pool: tuple[str, ...] = ()
    subnet_size: int = 0
    force_new_cluster: bool = False
    spec: SwarmSpec = SwarmSpec()
    auto_lock_managers: bool = False
    availability: Availability = Availability.ACTIVE


class JoinRequest(Part, frozen=True, kw_only=True):
    listen_addr: str = ""
    advertise_addr: str = ""
    data_path_addr: str = ""
    remote_addrs: tuple[str, ...] = field(default=())
    join_token: str = ""
    availability: Availability = Availability.ACTIVE

    def __repr__(self) -> str:
        return "JoinRequest(...)"  # the token must not reach a log


async def init(request: web.Request) -> web.Response:
    wanted = await body(request, InitRequest)
    if wanted.auto_lock_managers or wanted.spec.encryption_config.auto_lock_managers:
        raise Unsupported("autolock has no behaviour yet")
    check_data_path_port(wanted.data_path_port)
    pools = check_pools(wanted.default_addr_pool, wanted.subnet_size)
    node_id = await node_of(request).init(
        InitOptions(
            listen=wanted.listen_addr,
            advertise=wanted.advertise_addr,
            data_path=wanted.data_path_addr,
            availability=wanted.availability,
            spec=wanted.spec,
            default_addr_pool=pools,
            subnet_size=wanted.subnet_size,
            data_path_port=wanted.data_path_port,
            force_new_cluster=wanted.force_new_cluster,
        )
    )
    return answer(node_id)


async def join(request: web.Request) -> web.Response:
    wanted = await body(request, JoinRequest)
    await node_of(request).join(
        JoinOptions(
            listen=wanted.listen_addr,
            advertise=wanted.advertise_addr,
            data_path=wanted.data_path_addr,
            availability=wanted.availability,
            remotes=wanted.remote_addrs,
            token=wanted.join_token,
        )
    )
    return empty()


async def leave(request: web.Request) -> web.Response:
    await node_of(request).leave(force=asked(request, "force"))
    return empty()


async def inspect(request: web.Request) -> web.Response:
    view = await manager_of(request).read()
    for cluster in view.clusters:
        return answer(objects.cluster(cluster))
    raise NotFound("the swarm has no cluster object yet")


async def update(request: web.Request) -> web.Response:
    if said(request, "rotateManagerUnlockKey"):
        raise Unsupported("autolock has no behaviour yet")
    wanted = UpdateSwarm(
        version=version(request),
        spec=await body(request, SwarmSpec),
        rotate_worker_token=said(request, "rotateWorkerToken"),
        rotate_manager_token=said(request, "rotateManagerToken"),
    )
    await manager_of(request).control.carry_out(wanted)
    return empty()


async def unlock_key(request: web.Request) -> web.Response:
    await manager_of(request).read()  # managers only
    return answer({"UnlockKey": ""})  # autolock is off: Docker's answer for that


async def unlock(request: web.Request) -> web.Response:
    if not node_of(request).in_swarm:
        raise Unavailable("This node is not part of a swarm")
    return answer({"message": "swarm is not locked"}, 409)


ROUTES: tuple[Route, ...] = (
    ("POST", "/swarm/init", init),
    ("POST", "/swarm/join", join),
    ("POST", "/swarm/leave", leave),
    ("GET", "/swarm", inspect),
    ("POST", "/swarm/update", update),
    ("GET", "/swarm/unlockkey", unlock_key),
    ("POST", "/swarm/unlock", unlock),
)
