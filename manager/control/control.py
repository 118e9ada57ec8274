"""The control API on the leader: one request, one transaction, one answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manager.control import attachment_task, network, node, service, swarm
from manager.control.secret import CONFIGS, SECRETS
from manager.raft.proposer import Proposer
from manager.store.once import once
from manager.store.store import Store
from manager.store.tx import Tx
from swarmcore.clock import Clock
from swarmcore.errors import Invalid
from swarmcore.rpc.messages import control as messages
from swarmcore.rpc.messages.control import ControlReply, ControlRequest

MAX_WRITE_ID = 64


class Control:
    """`carry_out` works on the leader only (NoLeader elsewhere: ControlProxy knows what to do then)."""

    def __init__(self, store: Store, proposer: Proposer, clock: Clock) -> None:
        self._store = store
        self._changes: Mapping[type[Any], Callable[[Tx, Any], ControlReply]] = {
            messages.CreateService: service.create,
            messages.UpdateService: service.update,
            messages.RemoveService: service.remove,
            messages.UpdateNode: lambda tx, r: node.update(tx, r, proposer),
            messages.RemoveNode: lambda tx, r: node.remove(tx, r, proposer, clock.now()),
            messages.UpdateSwarm: swarm.update,
            messages.CreateNetwork: network.create,
            messages.RemoveNetwork: network.remove,
            messages.AttachContainer: attachment_task.attach,
            messages.DetachContainer: attachment_task.detach,
            messages.CreateSecret: SECRETS.create,
            messages.UpdateSecret: SECRETS.update,
            messages.RemoveSecret: SECRETS.remove,
            messages.CreateConfig: CONFIGS.create,
            messages.UpdateConfig: CONFIGS.update,
            messages.RemoveConfig: CONFIGS.remove,
        }

    async def carry_out(self, request: ControlRequest, write_id: str = "") -> ControlReply:
        """A request that comes again with the same `write_id` is answered as the first time, and not done again."""
        change = self._changes[type(request)]
        if len(write_id) > MAX_WRITE_ID:
            raise Invalid(f"a write's id has at most {MAX_WRITE_ID} characters")
        if not write_id:
            return await self._store.transact(lambda tx: change(tx, request))
        return await self._store.transact(once(write_id, lambda tx: change(tx, request), ControlReply))
