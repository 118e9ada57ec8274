"""What nodes ask for their containers outside of services: to join a network of the swarm, and to leave it.

Every manager answers; the leader acts. Which node asks is what its certificate says, so that no node can attach or
detach another's container.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from manager.leader import Leader, OnLeader
from manager.store.store import Store
from manager.store.watch import Feed, Lagged
from swarmcore.clock import Clock
from swarmcore.errors import FailedPrecondition, Invalid, NotFound, SwarmError
from swarmcore.ids import is_id
from swarmcore.model.node import NodeRole
from swarmcore.model.task import Task, TaskState
from swarmcore.rpc.messages.attachments import (
    AttachmentReply,
    ForwardedAttachment,
    RequestAttachment,
    RequestDetachment,
)
from swarmcore.rpc.messages.control import AttachContainer, ControlReply, ControlRequest, DetachContainer
from swarmcore.rpc.server import Peer, RpcServer

log = logging.getLogger(__name__)
NODES = frozenset({NodeRole.WORKER, NodeRole.MANAGER})
MAX_TEXT = 256  # characters of a network's or container's name or id
PATIENCE = 8.0  # seconds until a task must have come to its node
GRACE = 1.0  # seconds in which a reason to wait may pass: its network may still be getting its subnets
FORWARD_TIMEOUT = PATIENCE + 1.0

Request = RequestAttachment | RequestDetachment


class Writes(Protocol):
    """What of manager.control.Control is needed."""

    async def carry_out(self, request: ControlRequest, write_id: str = "") -> ControlReply: ...


class AttachmentServer:
    def __init__(self, control: Writes, store: Store, leader: Leader, clock: Clock) -> None:
        self._control, self._store, self._clock = control, store, clock
        self.on_leader = OnLeader(
            leader, ForwardedAttachment, AttachmentReply, self._carry_out, timeout=FORWARD_TIMEOUT
        )

    def register(self, server: RpcServer) -> None:
        server.call(RequestAttachment, self.requested, roles=NODES)
        server.call(RequestDetachment, self.requested, roles=NODES)
        self.on_leader.register(server)

    def unregister(self, server: RpcServer) -> None:
        for request in (RequestAttachment, RequestDetachment):
            server.unregister(request)
        self.on_leader.unregister(server)

    async def requested(self, peer: Peer, request: Request) -> AttachmentReply:
        return await self.on_leader.ask(ForwardedAttachment(request=request, node_id=peer.node_id))

    async def _carry_out(self, asked: ForwardedAttachment) -> AttachmentReply:
        request = asked.request
        if request.task_id and not is_id(request.task_id):
            raise Invalid(f"invalid task id {request.task_id[:60]!r}")
        for text in (request.network, request.container_id):
            if len(text) > MAX_TEXT:
                raise Invalid(f"invalid name {text[:60]!r}...: it is longer than {MAX_TEXT} characters")
        if isinstance(request, RequestDetachment):
            return await self._detach(asked.node_id, request)
        if not request.task_id:
            raise Invalid("a request to attach must choose an id")
        return await self._attach(asked.node_id, request)

    async def _detach(self, node_id: str, request: RequestDetachment) -> AttachmentReply:
        reply = await self._control.carry_out(
            DetachContainer(
                id=request.task_id,
                network=request.network,
                node_id=node_id,
                container_id=request.container_id,
            )
        )
        log.info("container detached", extra={"node": node_id, "task": reply.id})
        return AttachmentReply(task_id=reply.id)

    async def _attach(self, node_id: str, request: RequestAttachment) -> AttachmentReply:
        reply = await self._control.carry_out(
            AttachContainer(
                id=request.task_id,
                network=request.network,
                node_id=node_id,
                container_id=request.container_id,
                name=request.name,
                addresses=request.addresses,
                aliases=request.aliases,
            ),
            f"{node_id}/{request.task_id}",  # a node that asks again does not bring back what was detached meanwhile
        )
        why = await self._settled(reply.id)
        if why is not None:
            await self._give_up(reply.id)
            raise FailedPrecondition(f"Could not attach to network {request.network}: {why}")
        log.info("container attached", extra={"node": node_id, "task": reply.id, "network": request.network})
        return AttachmentReply(task_id=reply.id)

    async def _settled(self, task_id: str) -> str | None:
        """None once the task is its node's; else why that will not be."""
        now = self._clock.monotonic()
        deadline, told_at = now + PATIENCE, 0.0
        with self._store.watch(kinds=frozenset({Task})) as feed:
            while True:
                task = self._store.view().tasks.get(task_id)
                if task is None or task.desired_state >= TaskState.REMOVE:
                    return "it was detached meanwhile"
                if task.status.state >= TaskState.ASSIGNED:
                    return _failure(task)
                now = self._clock.monotonic()
                told_at = (told_at or now) if task.status.err else 0.0
                left = min(deadline, told_at + GRACE if told_at else deadline) - now
                if left <= 0:
                    return task.status.err or "no manager placed it in time"
                await _next_commit(feed, left)

    async def _give_up(self, task_id: str) -> None:
        """The reaper deletes it; if that cannot be written now, the node asks for it once more."""
        try:
            await self._control.carry_out(DetachContainer(id=task_id))
        except NotFound:
            return
        except SwarmError as error:
            log.warning("an attachment cannot be undone yet", extra={"task": task_id, "reason": str(error)})


def _failure(task: Task) -> str | None:
    if not task.status.state.is_final:
        return None
    return task.status.err or task.status.message or f"its task ended {task.status.state.text}"


async def _next_commit(feed: Feed, seconds: float) -> None:
    """Until there is something new to look at, or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await feed.get()
    except (TimeoutError, Lagged):
        return  # the caller looks at the whole state
    feed.drain()
