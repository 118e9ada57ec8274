"""What makes a node a worker, as every manager is too: its agent, and containers outside of services on networks."""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Callable

from manager.membership.bootstrap import issued_by
from pyswarmd.config import ENGINE_VERSION
from pyswarmd.node.known_managers import KnownManagers
from pyswarmd.node.networks import NodeNetworks
from pyswarmd.node.shared import Shared
from swarmcore.addresses import split
from swarmcore.errors import Unavailable
from swarmcore.ids import new_id
from swarmcore.model.node import Node, NodeRole, NodeState
from worker.agent.agent import Agent, Notify
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


class AgentSide:
    """`run` for as long as this node is in the swarm; it may be repeated, until `end_agent` or `close`."""

    def __init__(
        self,
        shared: Shared,
        known: KnownManagers,
        containers: ContainerRegistry,
        tasks: ContainerExecutor,
        networks: NodeNetworks | None,
        *,
        on_role: Callable[[NodeRole], None],
        on_removed: Callable[[str], None],
    ) -> None:
        self._shared, self._networks, self._on_role = shared, networks, on_role
        self._seen = asyncio.Event()
        self._data_path = known.local.data_path or split(known.local.advertise)[0]
        self._attachments: AttachmentRequests | None = None
        executor: Executor = tasks
        if networks is not None:
            networks.swarm.joined(shared.keystore.node_id, self._data_path)
            self._attachments = _attachments(shared, containers, networks)
            executor = Runtimes(tasks, self._attachments)
        self._agent: Agent | None = Agent(
            client=shared.client,
            remotes=shared.remotes,
            executor=executor,
            db=StateDb(shared.settings.worker_db, shared.faults),
            describe=self._describer(tasks),
            clock=shared.clock,
            random=shared.random,
            notify=Notify(
                node=self._on_node,
                root=self._on_root,
                managers=known.are,
                removed=on_removed,
                time=shared.clock.told,
            ),
            networks=networks.swarm if networks is not None else None,
            checker=NetworkChecker(networks.swarm) if networks is not None else None,
            faults=shared.faults,
        )

    def _describer(self, tasks: ContainerExecutor) -> Describer:
        settings, keystore, faults = self._shared.settings, self._shared.keystore, self._shared.faults
        return Describer(
            resources=tasks.resources,
            engine_version=ENGINE_VERSION,
            labels=settings.labels,
            # There is no root rotation yet: the root that this node trusts has signed its certificate.
            tls_info=lambda: issued_by(keystore.root_pem),
            hostname=lambda: settings.hostname or platform.node(),
            data_path_addr=self._data_path,
            surroundings=self._networks.surroundings if self._networks is not None else None,
            fault=lambda: faults.text,
        )

    async def run(self) -> None:
        assert self._agent is not None, "the agent has ended"
        await self._agent.run()

    async def end_agent(self) -> None:
        """Its tasks are looked after no more; containers go on. `run` has ended before."""
        if self._agent is not None:
            await self._agent.close()
            self._agent = None

    async def close(self) -> None:
        await self.end_agent()
        if self._attachments is not None:
            await self._attachments.close()

    # -- what the session tells --------------------------------------------------------------------
    def _on_node(self, node: Node) -> None:
        self._on_role(node.role)
        if node.status.state is NodeState.READY:
            self._seen.set()

    def _on_root(self, root: bytes) -> None:
        """Root rotation is a later release's; a different root means that it has happened without us."""
        if root.strip() != self._shared.keystore.root_pem.strip():
            log.warning("the swarm has another root certificate than this node trusts")

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


def _attachments(shared: Shared, containers: ContainerRegistry, networks: NodeNetworks) -> AttachmentRequests:
    return AttachmentRequests(
        plugs=networks.swarm,
        containers=containers,
        managers=Managers(shared.client, shared.remotes, shared.clock),
        clock=shared.clock,
        new_id=new_id,
    )
