"""This host as the Engine API sees it: in a swarm or not, manager or worker, and its own images."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Iterator, Mapping
from random import Random

from manager.membership.bootstrap import new_swarm
from netoverlay.netlink.surroundings import Surroundings
from pki.join import join as request_certificate
from pki.keystore import KeyStore
from pyswarmd.config import Settings
from pyswarmd.metrics import Sample, of_host, of_raft
from pyswarmd.node.connecting import connect, disconnect
from pyswarmd.node.manager_parts import ManagerParts
from pyswarmd.node.member import Member
from pyswarmd.node.membership import (
    InitOptions,
    JoinOptions,
    LocalState,
    Status,
    advertise_address,
    check_leave,
    check_remotes,
    data_path_address,
    forget,
    joined,
    listen_address,
    split,
)
from pyswarmd.node.networks import NodeNetworks
from pyswarmd.node.taking_up import TakingUp
from swarmcore.aio import in_thread
from swarmcore.clock import Clock
from swarmcore.errors import FailedPrecondition, NotFound, NotInSwarm, Unavailable, Unimplemented
from swarmcore.ids import new_id
from swarmcore.model.node import NodeDescription
from swarmcore.model.overlay import NetworkTable
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.session import ManagerAddress
from worker.containers.executor import ContainerExecutor
from worker.images.store import ImageStore
from worker.networks.host_networks import HostNetworks
from worker.networks.local_networks import EndpointSettings
from worker.tasks.attachments import Attachments

log = logging.getLogger(__name__)
# Seconds. As long as Docker's join waits for its node.
_SEEN_WITHIN = 20.0
_RECENT_WITHIN = 0.3
_ALREADY = (
    'This node is already part of a swarm. Use "pyswarm leave" to leave this swarm and join another one.'
)


class Node:
    """One per daemon. Changes of membership are made one at a time."""

    def __init__(
        self,
        settings: Settings,
        images: ImageStore,
        executor: ContainerExecutor,
        clock: Clock,
        networks: NodeNetworks | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults()
        self.settings = settings
        self.images = images
        self._executor, self.clock = executor, clock
        self._networks = networks
        self._member: Member | None = None
        self._changing = asyncio.Lock()
        self._pending = False
        self._taking_up = TakingUp(self._take_up, self._changing, clock)

    # -- life --------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Take up the membership that is on disk, if there is one.

        Where that cannot be done the API serves all the same: it says why, and `leave --force` works.
        """
        if not await self._taking_up.start():
            await self._executor.sweep(frozenset())

    async def _take_up(self) -> bool:
        keystore = KeyStore(self.settings.certificates)
        if not keystore.load():
            return False
        local = LocalState.load(self.settings.local_state)
        member = self._new_member(local, keystore)
        try:
            await member.start()
        except BaseException:
            await member.close()
            raise
        self._member = member
        log.info("node started", extra={"node": keystore.node_id, "role": str(keystore.role)})
        return True

    async def close(self) -> None:
        await self._taking_up.close()
        if self._member is not None:
            await self._member.close()
            self._member = None

    def _new_member(self, local: LocalState, keystore: KeyStore) -> Member:
        return Member(
            self.settings,
            local,
            keystore,
            self._executor,
            self.clock,
            self._on_removed,
            networks=self._networks,
            faults=self._faults,
        )

    def _on_removed(self, reason: str) -> None:
        log.warning("this node does not belong to the swarm any more", extra={"reason": reason})

    # -- membership --------------------------------------------------------------------------------
    @property
    def in_swarm(self) -> bool:
        """Also where its place cannot be taken up: it is to be left first."""
        return self._member is not None or self._taking_up.failure is not None

    async def init(self, options: InitOptions) -> str:
        """Make a swarm of this node alone; the id of this node. Nothing is left behind if it fails."""
        make = self._force_new_cluster if options.force_new_cluster else self._init
        node_id = await make(options)
        await self._seen()
        return node_id

    async def _seen(self) -> bool:
        """Whether the next request finds this node in the swarm, ready; waits for that, but not for ever."""
        return self._member is not None and await self._member.seen(_SEEN_WITHIN)

    async def _init(self, options: InitOptions) -> str:
        async with self._changing:
            if self.in_swarm:
                raise Unavailable(_ALREADY)
            listen = await listen_address(options.listen)
            advertise = await advertise_address(options.advertise, listen)
            data_path = await data_path_address(options.data_path)
            description = await self._describe(advertise, data_path)
            swarm = new_swarm(
                clock=self.clock,
                new_id=new_id,
                spec=options.spec,
                availability=options.availability,
                default_addr_pool=options.default_addr_pool,
                subnet_size=options.subnet_size,
                data_path_port=options.data_path_port,
                description=description,
            )
            keystore = KeyStore(self.settings.certificates)
            local = LocalState(
                listen=joined(*listen),
                advertise=advertise,
                data_path=data_path,
                managers=(ManagerAddress(node_id=swarm.node.id, address=advertise),),
            )
            self._pending = True
            try:
                await in_thread(swarm.save, keystore)
                local.save(self.settings.local_state)
                member = self._new_member(local, keystore)
                try:
                    await member.start(swarm)
                except BaseException:
                    await member.close()
                    raise
            except BaseException:
                forget(self.settings)
                raise
            finally:
                self._pending = False
            self._member = member
            log.info("swarm initialized", extra={"node": swarm.node.id, "address": advertise})
            return swarm.node.id

    async def _force_new_cluster(self, options: InitOptions) -> str:
        """Go on alone with this manager's state: its log is verified, the other managers are forgotten."""
        await self._taking_up.stop()
        async with self._changing:
            keystore = KeyStore(self.settings.certificates)
            if not keystore.load() or not self.settings.raft_dir.exists():
                raise FailedPrecondition(
                    "--force-new-cluster needs a manager's state on this host", "run it on a former manager"
                )
            local = LocalState.load(self.settings.local_state)
            listen = await listen_address(options.listen or local.listen)
            advertise = await advertise_address(options.advertise or local.advertise, listen)
            data_path = await data_path_address(options.data_path or local.data_path)
            local = LocalState(
                listen=joined(*listen),
                advertise=advertise,
                data_path=data_path,
                managers=(ManagerAddress(node_id=keystore.node_id, address=advertise),),
            )
            if self._member is not None:
                await self._member.close()
                self._member = None
            member = self._new_member(local, keystore)
            try:
                await member.start(force_new_cluster=True)
            except BaseException:
                await member.close()
                raise
            local.save(self.settings.local_state)
            self._member, self._taking_up.failure = member, None
            return keystore.node_id

    async def join(self, options: JoinOptions) -> None:
        """Get a certificate for the token and take up its role; nothing is left behind if it fails.

        Unavailable, with the node in the swarm all the same, if no manager's session takes it up in time.
        """
        await self._join(options)
        if not await self._seen():
            raise Unavailable(
                "Timeout was reached before node joined. "
                "The attempt to join the swarm will continue in the background.",
                'see "pyswarm node ls" on a manager',
            )

    async def _join(self, options: JoinOptions) -> None:
        async with self._changing:
            if self.in_swarm:
                raise Unavailable(_ALREADY)
            if not options.remotes:
                raise FailedPrecondition(
                    "no manager address was given", "pass a manager's address as HOST:PORT"
                )
            check_remotes(options.remotes)
            listen = await listen_address(options.listen)
            advertise = await advertise_address(options.advertise, listen, options.remotes[0])
            data_path = await data_path_address(options.data_path)
            description = await self._describe(advertise, data_path)
            keystore = KeyStore(self.settings.certificates)
            self._pending = True
            try:
                got = await request_certificate(
                    RpcClient,
                    options.remotes,
                    options.token,
                    clock=self.clock,
                    random=Random(),
                    availability=options.availability,
                    description=description,
                )
                await in_thread(got.save, keystore)
                local = LocalState(
                    listen=joined(*listen),
                    advertise=advertise,
                    data_path=data_path,
                    managers=tuple(ManagerAddress(node_id="", address=a) for a in options.remotes),
                )
                local.save(self.settings.local_state)
                member = self._new_member(local, keystore)
                try:
                    await member.start()
                except BaseException:
                    await member.close()
                    raise
            except BaseException:
                forget(self.settings)
                raise
            finally:
                self._pending = False
            self._member = member
            log.info("joined the swarm", extra={"node": keystore.node_id, "role": str(keystore.role)})

    async def _describe(self, advertise: str, data_path: str) -> NodeDescription:
        """What the swarm must know of this host before it chooses networks, or lets it in."""
        around = await self._networks.surroundings() if self._networks is not None else Surroundings()
        return NodeDescription(
            hostname=self.hostname,
            data_path_addr=data_path or split(advertise)[0],
            host_subnets=around.addresses,
            host_routes=around.routes,
        )

    async def leave(self, *, force: bool) -> None:
        await self._taking_up.stop()
        async with self._changing:
            member = self._member
            if member is None and self._taking_up.failure is not None:
                await self._leave_without_taking_part(force=force)
                return
            if member is None:
                raise NotInSwarm("This node is not part of a swarm")
            if member.manager is not None:
                check_leave(len(member.manager.parts.raft.members), force)
                await member.retire(force=force)
            await member.end_tasks()
            if self._networks is not None:
                await self._networks.swarm.left()
            await member.close()
            self._member = None
            forget(self.settings)
            log.info("left the swarm")

    async def _leave_without_taking_part(self, *, force: bool) -> None:
        self._taking_up.check_leave(force=force)
        await self._executor.sweep(frozenset())
        if self._networks is not None:
            await self._networks.swarm.left()
        forget(self.settings)
        self._taking_up.failure = None
        log.info("left the swarm without having taken part in it")

    # -- the swarm's state -------------------------------------------------------------------------
    def manager(self) -> ManagerParts:
        """What this node is a manager with. Raises, and says where to go, where it is none."""
        if self._member is None:
            self._taking_up.refuse()
            raise NotInSwarm(
                'This node is not a swarm manager. Use "pyswarm init" or "pyswarm join" '
                "to connect this node to swarm and try again.",
                "",
            )
        return self._member.as_manager()

    # -- networks of this host ---------------------------------------------------------------------
    @property
    def local_networks(self) -> HostNetworks | None:
        return self._networks.local if self._networks is not None else None

    def network_tables(self) -> Mapping[str, NetworkTable]:
        """The swarm's networks that this host carries."""
        return self._networks.tables() if self._networks is not None else {}

    async def connect_network(self, network: str, container: str, config: EndpointSettings) -> None:
        """A container of this host joins a network of it, or an attachable one of the swarm."""
        found = self._executor.find(container)
        await connect(self._own_networks(), self._attachments, found, network, config)

    async def disconnect_network(self, network: str, container: str, *, force: bool) -> None:
        """`force`: also where the container is gone."""
        networks = self._own_networks()
        try:
            found = self._executor.find(container)
        except NotFound:
            if force:
                return
            raise
        await disconnect(networks, self._attachments, found, network)

    def _attachments(self) -> Attachments:
        if self._member is None:
            raise NotInSwarm("This node is not part of a swarm")
        return self._member.attachments()

    def _own_networks(self) -> NodeNetworks:
        if self._networks is None:
            raise Unimplemented("this node has no networking")
        return self._networks

    # -- this host ---------------------------------------------------------------------------------
    def status(self) -> Status:
        if self._member is None:
            state = "pending" if self._pending else "inactive"
            return self._taking_up.status() or Status(state=state, error=self._faults.text)
        return self._member.status()

    @property
    def ping_state(self) -> str:
        """The Swarm header of /_ping."""
        status = self.status()
        if status.state != "active":
            return status.state
        return "active/manager" if status.control_available else "active/worker"

    @property
    def hostname(self) -> str:
        return self.settings.hostname or platform.node()

    @property
    def engine_id(self) -> str:
        return self.status().node_id or self.hostname

    def metrics(self) -> Iterator[Sample]:
        """What this host counts."""
        yield from of_host(self.running_containers(), self.image_count(), self._faults.counts)
        if self._networks is not None:
            yield from self._networks.metrics()
        if self._member is not None and self._member.manager is not None:
            yield from of_raft(self.manager().raft.status())

    def running_containers(self) -> int:
        return self._executor.running

    def has_container(self, text: str) -> bool:
        """Whether an id, the beginning of one, or a name is that of a container here (or of several)."""
        return self._executor.has(text)

    def volume_names(self) -> set[str]:  # reads the disk
        return {volume.name for volume in self._executor.volumes.list()}

    def image_count(self) -> int:
        return len(self.images.list())
