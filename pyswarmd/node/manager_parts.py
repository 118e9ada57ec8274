"""The parts of a manager, wired together: what answers users and other nodes, and the leader's loops."""

from __future__ import annotations

import asyncio

from msgspec import Struct

from manager.checks.conversation import NetworkChecks
from manager.control.control import Control
from manager.control.proxy import ControlProxy
from manager.dispatcher.attachment_server import AttachmentServer
from manager.dispatcher.dispatcher import Dispatcher
from manager.leader import Leader
from manager.logs.broker import LogBroker
from manager.manager import Manager
from manager.membership.ca_server import CAServer
from manager.membership.key_manager import KeyManager
from manager.membership.members import Members
from manager.membership.role_manager import RoleManager
from manager.raft.node import RaftNode
from manager.store.store import Store
from manager.store.tables import View
from swarmcore.clock import Clock
from swarmcore.errors import Unavailable
from swarmcore.ids import new_id
from swarmcore.rpc.client import RpcClient
from swarmcore.rpc.server import RpcServer

_RECENT_WITHIN = 0.3  # seconds


class ManagerParts(Struct, frozen=True, kw_only=True):
    """What the Engine API's handlers ask of a manager: they call the part itself, nothing stands between."""

    store: Store
    raft: RaftNode
    control: ControlProxy
    logs: LogBroker
    checks: NetworkChecks
    loops: Manager

    async def read(self) -> View:
        """The swarm's state, no older than this call: Unavailable where no majority confirms that."""
        await self.raft.read_barrier()
        return self.store.view()

    async def recent_view(self) -> View:
        """As new as this call where a majority confirms that at once; else what this manager has applied so far."""
        try:
            async with asyncio.timeout(_RECENT_WITHIN):
                return await self.read()
        except (TimeoutError, Unavailable):
            return self.store.view()


def wired(store: Store, raft: RaftNode, server: RpcServer, client: RpcClient, clock: Clock) -> ManagerParts:
    """Make every part and register at `server` what it answers to other nodes."""
    dispatcher = Dispatcher(store, raft, clock, new_id)
    leader = Leader(store, raft, client)
    control = Control(store, raft, clock)
    parts = ManagerParts(
        store=store,
        raft=raft,
        control=ControlProxy(control, leader, clock, new_id),
        logs=LogBroker(store, leader, dispatcher, client, clock, new_id),
        checks=NetworkChecks(store, raft, leader, dispatcher, clock, new_id),
        loops=Manager(
            store,
            raft,
            clock,
            loops=(
                lambda: dispatcher,
                lambda: RoleManager(store, raft, clock),
                lambda: KeyManager(store, clock),
            ),
        ),
    )
    ca = CAServer(store, leader, clock=clock, new_id=new_id)
    members = Members(store, raft, leader)
    attachments = AttachmentServer(control, store, leader, clock)
    for part in (ca, members, dispatcher, parts.control, parts.logs, parts.checks, attachments):
        part.register(server)
    return parts
