"""This host as the Engine API sees it: in a swarm or not, manager or worker, and what of its own it has."""

from __future__ import annotations

import asyncio
import logging
import platform
from random import Random

from netoverlay.netlink.surroundings import Surroundings
from pki.keystore import KeyStore
from pyswarmd.config import Settings
from pyswarmd.node.connecting import Connector
from pyswarmd.node.entering import Entering
from pyswarmd.node.manager_parts import ManagerParts
from pyswarmd.node.member import Member
from pyswarmd.node.membership import InitOptions, JoinOptions, LocalState, Status, forget
from pyswarmd.node.networks import NodeNetworks
from pyswarmd.node.taking_up import TakingUp
from swarmcore.addresses import split
from swarmcore.clock import Clock
from swarmcore.errors import NotInSwarm, Unavailable
from swarmcore.model.node import NodeDescription
from swarmcore.process.faults import Faults
from worker.containers.registry import ContainerRegistry
from worker.images.store import ImageStore
from worker.tasks.attachment_requests import AttachmentRequests
from worker.tasks.executor import ContainerExecutor

log = logging.getLogger(__name__)
# Seconds. As long as Docker's join waits for its node.
_SEEN_WITHIN = 20.0
_ALREADY = (
    'This node is already part of a swarm. Use "pyswarm leave" to leave this swarm and join another one.'
)


class Node:
    """One per daemon. Changes of membership are made one at a time.

    What this host has of its own is public: whoever needs it calls it. `networks` and `connector` are None where the
    daemon has no networking.
    """

    def __init__(
        self,
        settings: Settings,
        images: ImageStore,
        containers: ContainerRegistry,
        executor: ContainerExecutor,
        clock: Clock,
        networks: NodeNetworks | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.settings, self.clock = settings, clock
        self.faults = faults or Faults()
        self.images, self.containers, self.networks = images, containers, networks
        self._executor = executor
        self.connector = Connector(networks, containers, self._attachments) if networks is not None else None
        self._member: Member | None = None
        self._changing = asyncio.Lock()
        self._entering = Entering(settings, clock, Random(), self._new_member, self._describe)
        self._taking_up = TakingUp(self._take_up, self._changing, clock, Random())

    # -- life --------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Take up the membership that is on disk, if there is one.

        Where that cannot be done the API serves all the same: it says why, and `leave --force` works.
        """
        if not await self._taking_up.start():
            await self._executor.sweep(frozenset())

    async def _take_up(self) -> bool:
        self._member = await self._entering.by_what_is_on_disk()
        return self._member is not None

    async def close(self) -> None:
        await self._taking_up.close()
        await self._end_member()

    async def _end_member(self) -> None:
        if self._member is not None:
            await self._member.close()
            self._member = None

    def _new_member(self, local: LocalState, keystore: KeyStore) -> Member:
        return Member(
            self.settings,
            local,
            keystore,
            self.containers,
            self._executor,
            self.clock,
            self._on_removed,
            networks=self.networks,
            faults=self.faults,
        )

    async def _describe(self, local: LocalState) -> NodeDescription:
        """What can be told of this host before it has an agent."""
        around = await self.networks.surroundings() if self.networks is not None else Surroundings()
        return NodeDescription(
            hostname=self.hostname,
            data_path_addr=local.data_path or split(local.advertise)[0],
            host_subnets=around.addresses,
            host_routes=around.routes,
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
        if options.force_new_cluster:
            member = await self._recover(options)
        else:
            async with self._changing:
                self._refuse_second_swarm()
                member = self._member = await self._entering.by_making_a_swarm(options)
        await self._seen()
        return member.node_id

    async def _recover(self, options: InitOptions) -> Member:
        await self._taking_up.stop()
        async with self._changing:
            self._member = await self._entering.by_recovery(options, self._end_member)
            self._taking_up.failure = None
            return self._member

    async def join(self, options: JoinOptions) -> None:
        """Get a certificate for the token and take up its role; nothing is left behind if it fails.

        Unavailable, with the node in the swarm all the same, if no manager's session takes it up in time.
        """
        async with self._changing:
            self._refuse_second_swarm()
            self._member = await self._entering.by_joining(options)
        if not await self._seen():
            raise Unavailable(
                "Timeout was reached before node joined. "
                "The attempt to join the swarm will continue in the background.",
                'see "pyswarm node ls" on a manager',
            )

    def _refuse_second_swarm(self) -> None:
        if self.in_swarm:
            raise Unavailable(_ALREADY)

    async def _seen(self) -> bool:
        """Whether the next request finds this node in the swarm, ready; waits for that, but not for ever."""
        return self._member is not None and await self._member.seen(_SEEN_WITHIN)

    async def leave(self, *, force: bool) -> None:
        """Unavailable for a manager, unless by force: that one is demoted first."""
        await self._taking_up.stop()
        async with self._changing:
            member = self._member
            if member is None and self._taking_up.failure is not None:
                await self._leave_without_taking_part(force=force)
                return
            if member is None:
                raise NotInSwarm("This node is not part of a swarm")
            await member.retire(force=force)
            await member.end_tasks()
            if self.networks is not None:
                await self.networks.swarm.left()
            await self._end_member()
            forget(self.settings)
            log.info("left the swarm")

    async def _leave_without_taking_part(self, *, force: bool) -> None:
        self._taking_up.check_leave(force=force)
        await self._executor.sweep(frozenset())
        if self.networks is not None:
            await self.networks.swarm.left()
        forget(self.settings)
        self._taking_up.failure = None
        log.info("left the swarm without having taken part in it")

    # -- its part in the swarm ---------------------------------------------------------------------
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

    def _attachments(self) -> AttachmentRequests:
        if self._member is None:
            raise NotInSwarm("This node is not part of a swarm")
        return self._member.attachments()

    def status(self) -> Status:
        if self._member is None:
            state = "pending" if self._entering.pending else "inactive"
            return self._taking_up.status() or Status(state=state, error=self.faults.text)
        return self._member.status()

    @property
    def hostname(self) -> str:
        return self.settings.hostname or platform.node()
