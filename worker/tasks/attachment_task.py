"""The controller of a task that stands for a container outside of services: it plugs it into a network of the swarm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from swarmcore.aio import Tasks, owned
from swarmcore.clock import Clock
from swarmcore.errors import Invalid, NotFound, SwarmError
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.naming import task_name
from swarmcore.model.network import NetworkAttachment
from swarmcore.model.overlay import endpoint_mac
from swarmcore.model.task import ContainerStatus, Task

log = logging.getLogger(__name__)
AGAIN = 2.0  # seconds between attempts to take up, after a restart, what this node had plugged in


class Plugs(Protocol):
    """What the host's networking does for containers that run already. Every call may be repeated."""

    async def known(self, network_id: str) -> None:
        """Return when this node has been told the network's table."""
        ...

    async def plug(
        self, container_id: str, network_id: str, addresses: tuple[str, ...], mac: str, name: str
    ) -> None:
        """Give the container an interface there; `addresses` have prefix lengths, IPv4 first.

        Once it is there the same call changes nothing. SwarmError with the reason if that is impossible.
        """
        ...

    async def unplug(self, container_id: str, network_id: str, mac: str) -> None:
        """Leave nothing of it, whether or not the container is still there.

        An interface with another `mac` stays: it is a later attachment's to the same network.
        """
        ...


class Containers(Protocol):
    """What of `worker.containers.registry.ContainerRegistry` is needed."""

    def lives(self, container_id: str) -> bool:
        """There is this container (full id), and it has not ended."""
        ...

    async def ended(self, container_id: str) -> None:
        """Return when the container has ended; at once if there is none."""
        ...


class AttachmentTask:
    """Implements worker.tasks.controller.Controller. Plugging runs to its end even if the caller gives up waiting.

    `settled` hears once the container is on the network, or what went wrong; `removed` that nothing is left.
    `doing` says in words what it waits for, `off` is set once the container is off the network for good.
    """

    def __init__(
        self,
        task: Task,
        *,
        plugs: Plugs,
        containers: Containers,
        clock: Clock,
        tasks: Tasks,
        settled: Callable[[str, SwarmError | None], None],
        removed: Callable[[str], None],
    ) -> None:
        spec = task.spec.network_attachment_spec
        self._container_id = spec.container_id if spec is not None else ""
        self._task, self._plugs, self._containers = task, plugs, containers
        self._clock, self._tasks = clock, tasks
        self._settled, self._removed = settled, removed
        self._step = asyncio.Lock()
        self._plugged = False
        self.doing = "it waits for its turn on this node"
        self.off = asyncio.Event()

    def is_of(self, network_id: str, container_id: str) -> bool:
        joined = any(each.network_id == network_id for each in self._task.networks_attachments)
        return joined and self._container_id == container_id

    # -- the Controller protocol ---------------------------------------------------------------------
    async def prepare(self) -> None:
        await self._telling(self._while_it_lives(self._prepare(), "prepare"))

    async def start(self) -> None:
        await self._telling(self._while_it_lives(self._prepare(), "start"))
        self.doing = "it is on the network"
        self._settled(self._task.id, None)

    async def wait(self) -> int:
        """A daemon that was restarted has to take up what it finds; until that works the kernel has what it had."""
        if not self._plugged:
            try:
                await self._while_it_lives(self._take_up(), "take up")
            except NotFound:
                return 0  # it ended while nobody was looking
        await self._containers.ended(self._container_id)
        return 0

    async def shutdown(self) -> None:
        await self._whole(self._unplug(), "unplug")

    async def terminate(self) -> None:
        await self.shutdown()

    async def remove(self) -> None:
        await self.shutdown()
        self._removed(self._task.id)

    def status(self) -> ContainerStatus | None:
        return ContainerStatus(container_id=self._container_id)

    def ports(self) -> tuple[PortConfig, ...]:
        return ()

    # -- steps ---------------------------------------------------------------------------------------
    async def _prepare(self) -> SwarmError | None:
        try:
            for attachment in self._task.networks_attachments:
                self.doing = f"this node has not been told of network {attachment.network_id} yet"
                await self._plugs.known(attachment.network_id)
            self.doing = "it is being plugged in"
            await self._whole(self._plug(), "plug")
        except SwarmError as error:
            return error
        return None

    async def _take_up(self) -> SwarmError | None:
        while (error := await self._prepare()) is not None:
            facts = {"task": self._task.id, "container": self._container_id, "reason": str(error)}
            log.warning("a container cannot be plugged in again yet", extra=facts)
            await self._clock.sleep(AGAIN)
        return None

    async def _plug(self) -> None:
        if self._plugged or self.off.is_set():
            return
        for attachment in self._task.networks_attachments:
            await self._plugs.plug(
                self._container_id,
                attachment.network_id,
                _addresses(attachment),
                endpoint_mac(self._task.id, attachment.network_id),
                task_name(self._task),
            )
        self._plugged = True

    async def _unplug(self) -> None:
        for attachment in self._task.networks_attachments:
            mac = endpoint_mac(self._task.id, attachment.network_id)
            await self._plugs.unplug(self._container_id, attachment.network_id, mac)
        self._plugged = False
        self.off.set()

    # -- how they run --------------------------------------------------------------------------------
    async def _telling(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except SwarmError as error:
            self._settled(self._task.id, error)
            raise

    async def _while_it_lives(self, step: Coroutine[Any, Any, SwarmError | None], name: str) -> None:
        """NotFound when the container ends first: nobody needs the step then."""
        if not self._containers.lives(self._container_id):
            step.close()
            raise self._gone()
        async with (
            owned(step, f"{name} of attachment {self._task.id}") as running,
            owned(self._containers.ended(self._container_id), f"end of {self._container_id}") as end,
        ):
            await asyncio.wait({running, end}, return_when=asyncio.FIRST_COMPLETED)
            failure = running.result() if running.done() else self._gone()
        if failure is not None:
            raise failure

    def _gone(self) -> NotFound:
        return NotFound(f"No such container: {self._container_id}", "it may have ended")

    async def _whole(self, step: Coroutine[Any, Any, None], name: str) -> None:
        """An interface that is half made would be nobody's: whoever unplugs next waits for the step under way."""
        failure = await asyncio.shield(
            self._tasks.start(self._locked(step), f"{name} of attachment {self._task.id}")
        )
        if failure is not None:
            raise failure

    async def _locked(self, step: Coroutine[Any, Any, None]) -> SwarmError | None:
        try:
            async with self._step:
                await step
        except SwarmError as error:
            return error
        finally:
            step.close()
        return None


def _addresses(attachment: NetworkAttachment) -> tuple[str, ...]:
    if not attachment.addresses:
        raise Invalid(f"the task has no address on network {attachment.network_id}")
    return attachment.addresses
