"""Containers outside of services on networks of the swarm: asked for at the leader, then plugged in as a task.

The leader makes a task for each (runtime attachment), which comes to this node like any other. Its controller plugs
the container into the network, so that a restarted daemon takes up what it finds in its database.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from swarmcore.aio import Tasks
from swarmcore.clock import Clock
from swarmcore.errors import FailedPrecondition, NotFound, SwarmError, Unavailable
from swarmcore.ids import NewId
from swarmcore.model.task import Task
from swarmcore.rpc.messages.attachments import AttachmentReply, RequestAttachment, RequestDetachment
from worker.tasks.attachment_task import AttachmentTask, Containers, Plugs

log = logging.getLogger(__name__)
R = TypeVar("R", bound=Struct)
PATIENCE = 20.0  # seconds, as Docker waits
WITHDRAWING = 60.0  # seconds in which an attachment that nobody waits for any more is taken back


class Asks(Protocol):
    """What of `worker.agent.asking.Managers` is needed."""

    async def ask(self, request: Struct, reply: type[R], *, patience: float) -> R: ...


class AttachmentRequests:
    """All of this node. `close` leaves containers on their networks."""

    def __init__(
        self, *, plugs: Plugs, containers: Containers, managers: Asks, clock: Clock, new_id: NewId
    ) -> None:
        self._plugs, self._containers, self._managers = plugs, containers, managers
        self._clock, self._new_id = clock, new_id
        self._controllers: dict[str, AttachmentTask] = {}  # by task
        # By task that somebody waits for: what it failed with, None once the container is on the network.
        self._waiting: dict[str, asyncio.Future[SwarmError | None]] = {}
        self._tasks = Tasks()
        self._closed = False

    # -- for users: `network connect` ----------------------------------------------------------------
    async def connect(
        self,
        network_id: str,
        container_id: str,
        name: str,
        addresses: Sequence[str] = (),
        aliases: Sequence[str] = (),
    ) -> None:
        """Return when the container is on the network; `addresses` (bare) are met or refused.

        Raises what the leader refused it for, FailedPrecondition with what went wrong here, Unavailable after
        PATIENCE. Nothing of it is left then.
        """
        self._check(container_id)
        task_id = self._new_id()
        done = self._waiting[task_id] = asyncio.get_running_loop().create_future()
        wanted = RequestAttachment(
            task_id=task_id,
            network=network_id,
            container_id=container_id,
            name=name,
            addresses=tuple(addresses),
            aliases=tuple(aliases),
        )
        over = False
        try:
            async with asyncio.timeout(PATIENCE):
                await self._managers.ask(wanted, AttachmentReply, patience=PATIENCE)
                failure = await done
            over = True
        except TimeoutError:
            raise self._late(task_id, network_id, container_id) from None
        except SwarmError as error:
            over = not isinstance(error, Unavailable)  # else nobody knows whether it was carried out
            raise
        finally:
            del self._waiting[task_id]
            if not over and not self._closed:
                self._tasks.start(self._withdraw(task_id), f"withdraw attachment {task_id}")
        if failure is not None:
            raise FailedPrecondition(f"Could not attach to network {network_id}: {failure}", failure.hint)

    async def disconnect(self, network_id: str, container_id: str) -> None:
        """Return when the container is off the network. NotFound if it did not join it by `connect`."""
        here = [c for c in self._controllers.values() if c.is_of(network_id, container_id)]
        wanted = RequestDetachment(network=network_id, container_id=container_id)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._managers.ask(wanted, AttachmentReply, patience=PATIENCE)
                for controller in here:
                    await controller.off.wait()
        except TimeoutError:
            raise Unavailable(
                f"container {container_id} is not off network {network_id} after {PATIENCE:.0f} s",
                "it leaves as soon as its node hears from the leader",
            ) from None

    def _check(self, container_id: str) -> None:
        if not self._containers.lives(container_id):
            raise NotFound(f"No such container: {container_id}", "it may have ended")

    def _late(self, task_id: str, network_id: str, container_id: str) -> Unavailable:
        controller = self._controllers.get(task_id)
        where = controller.doing if controller is not None else "its task has not come to this node"
        return Unavailable(
            f"Could not attach to network {network_id}: container {container_id} is not on it after "
            f"{PATIENCE:.0f} s: {where}",
            "try again; check that this node has a session with the leader",
        )

    async def _withdraw(self, task_id: str) -> None:
        try:
            await self._managers.ask(
                RequestDetachment(task_id=task_id), AttachmentReply, patience=WITHDRAWING
            )
        except NotFound:
            return  # it never came to be
        except SwarmError as error:
            log.warning("an attachment cannot be taken back", extra={"task": task_id, "reason": str(error)})

    # -- for the task managers -----------------------------------------------------------------------
    def controller(self, task: Task) -> AttachmentTask:
        """The task's controller; the same for every call until it is removed."""
        if (known := self._controllers.get(task.id)) is None:
            known = self._controllers[task.id] = AttachmentTask(
                task,
                plugs=self._plugs,
                containers=self._containers,
                clock=self._clock,
                tasks=self._tasks,
                settled=self._settled,
                removed=self._removed,
            )
        return known

    def _settled(self, task_id: str, failure: SwarmError | None) -> None:
        done = self._waiting.get(task_id)
        if done is not None and not done.done():
            done.set_result(failure)

    def _removed(self, task_id: str) -> None:
        self._controllers.pop(task_id, None)
        self._settled(task_id, FailedPrecondition("it was detached meanwhile"))

    async def close(self) -> None:
        self._closed = True
        await self._tasks.close()
