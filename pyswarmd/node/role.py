"""The role follows the certificate: the session tells the node's role, the renewer fetches a certificate of that role,
and only then the manager side starts or stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from manager.membership.bootstrap import NewSwarm
from pyswarmd.node.known_managers import KnownManagers
from pyswarmd.node.manager_side import ManagerSide
from pyswarmd.node.shared import Shared
from swarmcore.aio import Tasks
from swarmcore.errors import SwarmError
from swarmcore.model.node import NodeRole

log = logging.getLogger(__name__)


class Role:
    """Law: `manager` is there while the certificate says manager, unless raft has ended for good.

    `complain` hears what an operator has to know: why this node manages no more, or whom it is cut off from.
    """

    def __init__(
        self, shared: Shared, known: KnownManagers, tasks: Tasks, complain: Callable[[str], None]
    ) -> None:
        self._shared, self._known, self._tasks, self._complain = shared, known, tasks, complain
        self._turn = asyncio.Lock()
        self._renewed = asyncio.Event()
        self._stopped = False  # raft has ended for good: not to be started before the daemon is
        self._parting: ManagerSide | None = None  # of a role that is over, until nothing is left of it
        self.manager: ManagerSide | None = None

    def certificate_is_new(self) -> None:
        self._renewed.set()

    async def run(self) -> None:
        """Start or stop the manager side wherever it is not what the certificate's role says."""
        while True:
            self._renewed.clear()
            try:
                await self._follow_certificate()
            except SwarmError as error:
                log.warning("cannot take up the new role yet", extra={"reason": str(error)})
                await self._shared.clock.sleep(1.0)
            else:
                await self._renewed.wait()

    async def _follow_certificate(self) -> None:
        if self._parting is not None or self._shared.keystore.role is not NodeRole.MANAGER:
            await self._become_worker()
        if self._shared.keystore.role is NodeRole.MANAGER and self.manager is None and not self._stopped:
            await self.become_manager()
            log.info("this node is a manager now")

    async def become_manager(self, swarm: NewSwarm | None = None, *, force_new_cluster: bool = False) -> None:
        """`swarm` when this node has just made it; raises when a manager cannot take its place in raft."""
        async with self._turn:
            if self.manager is not None:
                return
            shared, local = self._shared, self._known.local
            # Superseded: the swarm was recovered without this one. It goes on with whom it has, the operator decides.
            side = ManagerSide(shared, local, on_fatal=self._manager_failed, on_superseded=self._complain)
            remotes = [m.address for m in local.managers if m.node_id != shared.keystore.node_id]
            try:
                await side.start(swarm, remotes, force_new_cluster=force_new_cluster)
            except BaseException:
                await side.close()
                raise
            self.manager = side
            shared.remotes.observe(local.advertise, up=True)

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

    def _manager_failed(self, error: Exception) -> None:
        """Raft stopped for good: this node manages no more until it is restarted; its tasks go on."""
        self._stopped = True
        self._complain(f"this manager stopped: {error}")
        log.critical("manager stopped", extra={"reason": str(error)})
        self._tasks.start(self._drop_manager(), "stop manager")

    async def _drop_manager(self) -> None:
        async with self._turn:
            side, self.manager = self.manager, None
            if side is not None:
                await side.close()

    async def close(self) -> None:
        if self.manager is not None:
            await self.manager.close()
            self.manager = None
