"""A node inside a swarm: its certificate, its agent and, while it is a manager, its manager side.

The role follows the certificate: the session tells the node's role, the renewer fetches a certificate
of that role, and only then the manager side starts or stops.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Awaitable, Callable
from random import Random

from msgspec.structs import replace

from manager.membership.bootstrap import NewSwarm, issued_by
from pki.contexts import Contexts
from pki.identity import Identity, identify
from pki.keystore import KeyStore
from pki.renewer import Renewer
from pyswarmd.config import ENGINE_VERSION, Settings
from pyswarmd.node.addresses import split
from pyswarmd.node.manager_parts import ManagerParts
from pyswarmd.node.manager_side import ManagerSide
from pyswarmd.node.membership import LocalState, Status
from pyswarmd.node.networks import NodeNetworks
from swarmcore.aio import Backoff, Tasks, in_thread, supervise
from swarmcore.clock import AgreedClock, Clock
from swarmcore.errors import NotManager, SwarmError, Unavailable
from swarmcore.ids import new_id
from swarmcore.model.node import Node as NodeObject
from swarmcore.model.node import NodeRole, NodeState, TLSInfo
from swarmcore.process.faults import Faults
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.messages.ca import IssueCertificate, IssuedCertificate
from swarmcore.rpc.messages.session import ManagerAddress
from swarmcore.rpc.peers import Remotes
from worker.agent.agent import Agent
from worker.agent.asking import Managers
from worker.agent.describe import Describer
from worker.checks.checker import NetworkChecker
from worker.containers.registry import ContainerRegistry
from worker.tasks.attachment_requests import AttachmentRequests
from worker.tasks.controller import Executor
from worker.tasks.executor import ContainerExecutor
from worker.tasks.runtimes import Runtimes
from worker.tasks.state_db import StateDb

log = logging.getLogger(__name__)
_LOOK_AT_CLOCK = 5.0
FORCED_PATIENCE = 5.0  # seconds that others have to agree to a forced leave


class Member:
    """Started by `start`, ended by `close` (containers go on) or by `leave` (they do not)."""

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
        networks: NodeNetworks | None = None,
        faults: Faults | None = None,
    ) -> None:
        self._settings, self._local, self._keystore = settings, local, keystore
        # Certificates, and all that managers date, go by the clock that most of them agree on.
        self._containers, self._executor, self._clock = containers, executor, AgreedClock(clock)
        self._on_stopped = on_stopped
        self._networks = networks
        self._faults = faults or Faults()
        self._saved: LocalState | None = None  # what is on disk of `_local`
        self._told = asyncio.Event()
        self._seen = asyncio.Event()
        self._random = Random()
        self._contexts = Contexts(keystore, self._clock.now)
        self._client = RpcClient(self._contexts.client_now)
        self._contexts.on_reload(self._client.refresh)
        self._remotes = Remotes(self._random, (m.address for m in local.managers))
        self._tasks = Tasks(on_failure=self._failed)
        self._turn = asyncio.Lock()
        self._renewed = asyncio.Event()
        self._agent: Agent | None = None
        self._agent_runs: asyncio.Task[None] | None = None
        self._attachments: AttachmentRequests | None = None
        self._error = ""
        self._stopped = False  # raft has ended for good: not to be started before the daemon is
        self._parting: ManagerSide | None = None  # of a role that is over, until nothing is left of it
        self.manager: ManagerSide | None = None
        self._renewer = Renewer(
            keystore,
            self._contexts,
            self._issue,
            clock=self._clock,
            random=self._random,
            on_renewed=lambda _: self._renewed.set(),
        )

    # -- life --------------------------------------------------------------------------------------
    async def start(self, swarm: NewSwarm | None = None, *, force_new_cluster: bool = False) -> None:
        """`swarm` when this node has just made it; raises when a manager cannot take its place in raft."""
        if self._keystore.role is NodeRole.MANAGER:
            await self._become_manager(swarm, force_new_cluster=force_new_cluster)
        await self._start_agent()
        self._supervised(self._renewer.run, "renewer")
        self._supervised(self._follow_role, "role")
        self._supervised(self._remember_managers, "known managers")
        self._supervised(self._watch_clock, "clock watch")

    def _supervised(self, run: Callable[[], Awaitable[None]], name: str) -> asyncio.Task[None]:
        backoff = Backoff(self._random)
        return self._tasks.start(supervise(run, name, self._clock, backoff, self._faults), name)

    async def _start_agent(self) -> None:
        db = StateDb(self._settings.worker_db, self._faults)
        data_path = self._local.data_path or split(self._local.advertise)[0]
        if self._networks is not None:
            self._networks.swarm.joined(self._keystore.node_id, data_path)
        describer = Describer(
            resources=self._executor.resources,
            engine_version=ENGINE_VERSION,
            labels=self._settings.labels,
            tls_info=self._tls_info,
            hostname=lambda: self._settings.hostname or platform.node(),
            data_path_addr=data_path,
            surroundings=self._networks.surroundings if self._networks is not None else None,
            fault=lambda: self._faults.text,
        )
        executor: Executor = self._executor
        if self._networks is not None:
            self._attachments = AttachmentRequests(
                plugs=self._networks.swarm,
                containers=self._containers,
                managers=Managers(self._client, self._remotes, self._clock),
                clock=self._clock,
                new_id=new_id,
            )
            executor = Runtimes(self._executor, self._attachments)
        self._agent = Agent(
            client=self._client,
            remotes=self._remotes,
            executor=executor,
            db=db,
            describe=describer,
            clock=self._clock,
            random=self._random,
            on_node=self._on_node,
            on_root=self._on_root,
            on_managers=self._on_managers,
            on_removed=self._on_removed,
            on_time=self._clock.told,
            networks=self._networks.swarm if self._networks is not None else None,
            checker=NetworkChecker(self._networks.swarm) if self._networks is not None else None,
            faults=self._faults,
        )
        self._agent_runs = self._supervised(self._agent.run, "agent")

    async def close(self) -> None:
        """Containers go on; another daemon adopts them."""
        await self._tasks.close()
        if self._agent is not None:
            await self._agent.close()
        if self._attachments is not None:
            await self._attachments.close()
        if self.manager is not None:
            await self.manager.close()
            self.manager = None
        await self._client.close()

    # -- manager side ------------------------------------------------------------------------------
    async def _become_manager(
        self, swarm: NewSwarm | None = None, *, force_new_cluster: bool = False
    ) -> None:
        async with self._turn:
            if self.manager is not None:
                return
            side = ManagerSide(
                settings=self._settings,
                node_id=self._keystore.node_id,
                local=self._local,
                contexts=self._contexts,
                identify=self._identify,
                client=self._client,
                clock=self._clock,
                on_fatal=self._manager_failed,
                faults=self._faults,
                cluster_id=self._keystore.cluster_id,
                on_superseded=self._on_superseded,
            )
            remotes = [m.address for m in self._local.managers if m.node_id != self._keystore.node_id]
            try:
                await side.start(swarm, remotes, force_new_cluster=force_new_cluster)
            except BaseException:
                await side.close()
                raise
            self.manager = side
            self._remotes.observe(self._local.advertise, up=True)

    async def _become_worker(self) -> None:
        """May be repeated where it failed on the way."""
        async with self._turn:
            if self.manager is not None:
                self._parting, self.manager = self.manager, None
            if self._parting is not None:
                await self._parting.close()
                self._parting.forget()
                self._parting = None
                log.info("this node is a worker now")

    async def _follow_role(self) -> None:
        """Start or stop the manager side wherever it is not what the certificate's role says."""
        while True:
            self._renewed.clear()
            try:
                await self._take_up_role()
            except SwarmError as error:
                log.warning("cannot take up the new role yet", extra={"reason": str(error)})
                await self._clock.sleep(1.0)
            else:
                await self._renewed.wait()

    async def _take_up_role(self) -> None:
        if self._parting is not None or self._keystore.role is not NodeRole.MANAGER:
            await self._become_worker()
        if self._keystore.role is NodeRole.MANAGER and self.manager is None and not self._stopped:
            await self._become_manager()
            log.info("this node is a manager now")

    def _manager_failed(self, error: Exception) -> None:
        """Raft stopped for good: this node manages no more until it is restarted; its tasks go on."""
        self._stopped = True
        self._error = f"this manager stopped: {error}"
        log.critical("manager stopped", extra={"reason": str(error)})
        self._tasks.start(self._drop_manager(), "stop manager")

    def _on_superseded(self, reason: str) -> None:
        """The swarm was recovered without this manager. It goes on with whom it has: the operator decides."""
        self._error = reason

    async def _drop_manager(self) -> None:
        async with self._turn:
            side, self.manager = self.manager, None
            if side is not None:
                await side.close()

    # -- what the session tells --------------------------------------------------------------------
    def _on_node(self, node: NodeObject) -> None:
        self._renewer.role_is(node.role)
        if node.status.state is NodeState.READY:
            self._seen.set()

    def _on_root(self, root: bytes) -> None:
        """Root rotation is a later release's; a different root means that it has happened without us."""
        if root.strip() != self._keystore.root_pem.strip():
            log.warning("the swarm has another root certificate than this node trusts")

    def _on_managers(self, managers: tuple[ManagerAddress, ...]) -> None:
        self._local = replace(self._local, managers=managers)
        self._told.set()

    async def _remember_managers(self) -> None:
        """Keep on disk whom to ask after a restart."""
        while True:
            self._told.clear()
            if (local := self._local) != self._saved:
                # To its end: whoever ends us may remove the file, and a late write would bring it back.
                await in_thread(local.save, self._settings.local_state)
                self._saved = local
            await self._told.wait()

    async def _watch_clock(self) -> None:
        """A clock that runs against the others is said where people look: the log, `/info`, `node ls`, the doctor."""
        while True:
            self._faults.say("clock", self._clock.complaint)
            await self._clock.sleep(_LOOK_AT_CLOCK)

    def _on_removed(self, reason: str) -> None:
        self._error = reason
        self._on_stopped(reason)

    def _failed(self, name: str, error: BaseException) -> None:
        self._error = f"{name} failed: {error}"

    # -- identity ----------------------------------------------------------------------------------
    def _identify(self, der: bytes) -> Identity:
        return identify(der, self._keystore.cluster_id, self._clock.now())

    def _tls_info(self) -> TLSInfo:
        # There is no root rotation yet: the root that this node trusts has signed its certificate.
        return issued_by(self._keystore.root_pem)

    async def _issue(self, csr: bytes) -> IssuedCertificate:
        """Ask each known manager in turn for the next certificate."""
        wanted = IssueCertificate(csr=csr)
        addresses = {m.address for m in self._local.managers} | set(self._remotes.addresses)
        if self.manager is not None:
            addresses.add(self._local.advertise)
        last: SwarmError = Unavailable("no manager is known to ask for a certificate")
        for address in sorted(addresses, key=lambda a: a == self._local.advertise):
            try:
                return await self._client.call(address, wanted, IssuedCertificate, timeout=10.0)
            except Unavailable as error:
                last = error
        raise last

    # -- for the API -------------------------------------------------------------------------------
    @property
    def node_id(self) -> str:
        return self._keystore.node_id

    @property
    def role(self) -> NodeRole:
        """That of the certificate."""
        return self._keystore.role

    def status(self) -> Status:
        managers = self._local.managers
        if self.manager is not None:
            members = self.manager.parts.raft.members.values()
            managers = tuple(ManagerAddress(node_id=m.node_id, address=m.address) for m in members)
        return Status(
            node_id=self._keystore.node_id,
            address=self._local.advertise.rpartition(":")[0].strip("[]"),
            state="error" if self._error else "active",
            control_available=self.manager is not None,
            error=self._error or self._faults.text,
            managers=managers,
        )

    async def seen(self, seconds: float) -> bool:
        """Whether the swarm shows this node as ready, with what it told of itself, by the end of so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._seen.wait()
        except TimeoutError:
            return False
        return True

    def attachments(self) -> AttachmentRequests:
        """Of containers outside of services to networks of the swarm."""
        if self._attachments is None:
            raise Unavailable("this node does not carry networks yet")
        return self._attachments

    def as_manager(self) -> ManagerParts:
        """NotManager names one where this node is a worker, Unavailable says what stopped it."""
        if self.manager is None and self._error and self._keystore.role is NodeRole.MANAGER:
            raise Unavailable(self._error, "mend what its log names, then restart the daemon")
        if self.manager is None:
            known = [m.address for m in self._local.managers]
            where = f"run the command on a manager, such as {known[0]}" if known else "run it on a manager"
            raise NotManager(
                "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state.",
                where,
            )
        return self.manager.parts

    async def retire(self, *, force: bool) -> None:
        """Before this node leaves: hand the lead over, give up the place in raft; raises if that fails.

        With `force` nobody's consent is needed, and nobody is waited for long: the others may be gone, or refuse us.
        """
        if self.manager is None:
            return
        try:
            async with asyncio.timeout(FORCED_PATIENCE if force else None):
                await self.manager.retire()
        except (SwarmError, TimeoutError) as error:
            if not force:
                raise
            reason = str(error) or f"no answer within {FORCED_PATIENCE:g} s"
            log.warning("left without the other managers' consent", extra={"reason": reason})

    async def end_tasks(self) -> None:
        """Stop every task of this node and remove its containers."""
        if self._agent is not None and self._agent_runs is not None:
            self._agent_runs.cancel()
            await asyncio.wait([self._agent_runs])
            await self._agent.close()
            self._agent = self._agent_runs = None
        await self._executor.sweep(frozenset())
