"""A node inside a swarm: its certificate, its agent and, while it is a manager, its manager side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from random import Random

from manager.membership.bootstrap import NewSwarm
from pki.contexts import Contexts
from pki.keystore import KeyStore
from pki.renewer import Renewer
from pyswarmd.config import Settings
from pyswarmd.node.agent_side import AgentSide
from pyswarmd.node.known_managers import KnownManagers
from pyswarmd.node.manager_parts import ManagerParts
from pyswarmd.node.membership import LocalState, Status, check_leave
from pyswarmd.node.networks import NodeNetworks
from pyswarmd.node.role import Role
from pyswarmd.node.shared import Shared
from swarmcore.addresses import host_of
from swarmcore.aio import Backoff, Tasks, end, supervise
from swarmcore.clock import AgreedClock, Clock
from swarmcore.errors import NotManager, SwarmError, Unavailable
from swarmcore.model.node import NodeRole
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.ca import IssueCertificate, IssuedCertificate
from swarmcore.rpc.messages.session import ManagerAddress
from swarmcore.rpc.peers import Remotes
from worker.containers.registry import ContainerRegistry
from worker.tasks.attachment_requests import AttachmentRequests
from worker.tasks.executor import ContainerExecutor

log = logging.getLogger(__name__)
_LOOK_AT_CLOCK = 5.0
FORCED_PATIENCE = 5.0  # seconds that others have to agree to a forced leave


class Member:
    """Started by `start`, ended by `close`: containers go on, unless `end_tasks` came before."""

    def __init__(
        self,
        settings: Settings,
        local: LocalState,
        keystore: KeyStore,
        containers: ContainerRegistry,
        executor: ContainerExecutor,
        clock: Clock,
        on_stopped: Callable[[str], None],
        *,
        networks: NodeNetworks | None,
        faults: Faults,
    ) -> None:
        self._keystore, self._networks = keystore, networks
        self._containers, self._executor = containers, executor
        self._on_stopped = on_stopped
        self._error = ""
        self._shared = _shared(settings, local, keystore, AgreedClock(clock), faults)
        self._tasks = Tasks(on_failure=self._failed)
        self._known = KnownManagers(local, settings.local_state)
        self._role = Role(self._shared, self._known, self._tasks, self._complain)
        self._agent: AgentSide | None = None
        self._agent_runs: asyncio.Task[None] | None = None
        self._renewer = Renewer(
            keystore,
            self._shared.contexts,
            self._issue,
            clock=self._shared.clock,
            random=self._shared.random,
            on_renewed=lambda _: self._role.certificate_is_new(),
        )

    # -- life --------------------------------------------------------------------------------------
    async def start(self, swarm: NewSwarm | None = None, *, force_new_cluster: bool = False) -> None:
        """`swarm` when this node has just made it; raises when a manager cannot take its place in raft."""
        if self._keystore.role is NodeRole.MANAGER:
            await self._role.become_manager(swarm, force_new_cluster=force_new_cluster)
        self._agent = AgentSide(
            self._shared,
            self._known,
            self._containers,
            self._executor,
            self._networks,
            on_role=self._renewer.role_is,
            on_removed=self._on_removed,
        )
        self._agent_runs = self._supervised(self._agent.run, "agent")
        self._supervised(self._renewer.run, "renewer")
        self._supervised(self._role.run, "role")
        self._supervised(self._known.run, "known managers")
        self._supervised(self._watch_clock, "clock watch")

    def _supervised(self, run: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
        backoff = Backoff(self._shared.random)
        watched = supervise(run, name, self._shared.clock, backoff, self._shared.faults)
        return self._tasks.start(watched, name)

    async def _watch_clock(self) -> None:
        """A clock that runs against the others is said where people look: the log, `/info`, `node ls`, the doctor."""
        clock = self._shared.clock
        while True:
            self._shared.faults.say("clock", clock.complaint)
            await clock.sleep(_LOOK_AT_CLOCK)

    async def close(self) -> None:
        """Containers go on; another daemon adopts them."""
        await self._tasks.close()
        if self._agent is not None:
            await self._agent.close()
        await self._role.close()
        await self._shared.client.close()

    async def retire(self, *, force: bool) -> None:
        """Before this node leaves: a manager hands the lead over and gives up its place in raft; raises if that fails.

        With `force` nobody's consent is needed, and nobody is waited for long: the others may be gone, or refuse us.
        """
        if (manager := self._role.manager) is None:
            return
        check_leave(len(manager.parts.raft.members), force)
        try:
            async with asyncio.timeout(FORCED_PATIENCE if force else None):
                await manager.retire()
        except (SwarmError, TimeoutError) as error:
            if not force:
                raise
            reason = str(error) or f"no answer within {FORCED_PATIENCE:g} s"
            log.warning("left without the other managers' consent", extra={"reason": reason})

    async def end_tasks(self) -> None:
        """Stop every task of this node and remove its containers."""
        if self._agent is not None and self._agent_runs is not None:
            await end(self._agent_runs)
            await self._agent.end_agent()
            self._agent_runs = None
        await self._executor.sweep(frozenset())

    # -- what goes wrong ---------------------------------------------------------------------------
    def _complain(self, reason: str) -> None:
        self._error = reason

    def _on_removed(self, reason: str) -> None:
        self._complain(reason)
        self._on_stopped(reason)

    def _failed(self, name: str, error: BaseException) -> None:
        self._complain(f"{name} failed: {error}")

    # -- identity ----------------------------------------------------------------------------------
    async def _issue(self, csr: bytes) -> IssuedCertificate:
        """Ask each known manager in turn for the next certificate."""
        wanted, local = IssueCertificate(csr=csr), self._known.local
        addresses = {m.address for m in local.managers} | set(self._shared.remotes.addresses)
        if self._role.manager is not None:
            addresses.add(local.advertise)
        last: SwarmError = Unavailable("no manager is known to ask for a certificate")
        for address in sorted(addresses, key=lambda a: a == local.advertise):
            try:
                return await self._shared.client.call(address, wanted, IssuedCertificate, timeout=10.0)
            except Unavailable as error:
                last = error
        raise last

    # -- for the node ------------------------------------------------------------------------------
    @property
    def node_id(self) -> str:
        return self._keystore.node_id

    @property
    def role(self) -> NodeRole:
        """That of the certificate."""
        return self._keystore.role

    def status(self) -> Status:
        local, manager = self._known.local, self._role.manager
        managers = local.managers
        if manager is not None:
            members = manager.parts.raft.members.values()
            managers = tuple(ManagerAddress(node_id=m.node_id, address=m.address) for m in members)
        return Status(
            node_id=self._keystore.node_id,
            address=host_of(local.advertise),
            state="error" if self._error else "active",
            control_available=manager is not None,
            error=self._error or self._shared.faults.text,
            managers=managers,
        )

    async def seen(self, seconds: float) -> bool:
        """Whether the swarm shows this node as ready by the end of so many seconds."""
        return self._agent is not None and await self._agent.seen(seconds)

    def attachments(self) -> AttachmentRequests:
        """Of containers outside of services to networks of the swarm. Unavailable where it carries none."""
        if self._agent is None:
            raise Unavailable("this node does not carry networks yet")
        return self._agent.attachments()

    def as_manager(self) -> ManagerParts:
        """NotManager names one where this node is a worker, Unavailable says what stopped it."""
        if (manager := self._role.manager) is not None:
            return manager.parts
        if self._error and self._keystore.role is NodeRole.MANAGER:
            raise Unavailable(self._error, "mend what its log names, then restart the daemon")
        known = [m.address for m in self._known.local.managers]
        where = f"run the command on a manager, such as {known[0]}" if known else "run it on a manager"
        raise NotManager(
            "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state.",
            where,
        )


def _shared(
    settings: Settings, local: LocalState, keystore: KeyStore, clock: AgreedClock, faults: Faults
) -> Shared:
    random, contexts = Random(), Contexts(keystore, clock.now)
    client = RpcClient(contexts.client_now)
    contexts.on_reload(client.refresh)
    return Shared(
        settings=settings,
        keystore=keystore,
        clock=clock,
        contexts=contexts,
        client=client,
        remotes=Remotes(random, (m.address for m in local.managers)),
        random=random,
        faults=faults,
    )
