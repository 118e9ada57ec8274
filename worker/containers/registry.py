"""The containers of this host by id: made by plans, found, adopted from an earlier daemon, removed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Set
from datetime import datetime

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.aio import in_thread
from swarmcore.errors import FailedPrecondition, Invalid, NotFound
from worker.containers import preparation, record
from worker.containers.container import Container
from worker.containers.engine import Engine, discard
from worker.containers.log_records import LogLine
from worker.containers.logs import read_log
from worker.containers.phases import Phase
from worker.containers.plan import ContainerPlan
from worker.containers.record import ContainerRecord
from worker.runtime.descriptors import Descriptors, of_this_process
from worker.runtime.inotify import Inotify

log = logging.getLogger(__name__)


class ContainerRegistry:
    """`open` adopts what an earlier daemon left running; `close` leaves it running, and ends the engine's tasks."""

    def __init__(self, engine: Engine, descriptors: Descriptors | None = None) -> None:
        """`descriptors` are this process's: no container is made that would take the last ones."""
        self.engine = engine
        self.volumes = engine.volumes
        self._descriptors = descriptors or of_this_process()
        self._containers: dict[str, Container] = {}
        self._by_owner: dict[str, Container] = {}  # those that have one
        self._inotify: Inotify | None = None

    async def open(self) -> None:
        if not self.engine.cgroups.available:
            raise FailedPrecondition("no control groups are mounted on this host", "mount /sys/fs/cgroup")
        self.engine.places.make()
        self._inotify = Inotify()
        await self._adopt_all()

    async def _adopt_all(self) -> None:
        for folder in sorted(self.engine.places.containers.iterdir()):
            known = await asyncio.to_thread(record.load, folder)
            if known is None or known.id != folder.name or known.owner in self._by_owner:
                log.warning("removing the rest of a container", extra={"container": folder.name})
                await discard(self.engine, folder.name)
                continue
            self._hold_volumes(known)
            self._add(Container(self.engine, known))
        # Before anybody watches their end, which gives back what is adopted here.
        await self.engine.networking.adopt(
            {
                container.record.id: (container.record.sandbox, container.pid)
                for container in self._containers.values()
                if container.record.sandbox is not None and container.record.phase is not Phase.EXITED
            }
        )
        for container in self._containers.values():
            await container.adopt()

    def _hold_volumes(self, known: ContainerRecord) -> None:
        """One that has ended holds only what ends with it."""
        held = known.anonymous_volumes
        if known.phase is not Phase.EXITED:
            held += known.volumes
        for name in held:
            self.volumes.hold(name, known.id)

    def _add(self, container: Container) -> None:
        self._containers[container.record.id] = container
        if owner := container.record.owner:
            self._by_owner[owner] = container

    async def close(self) -> None:
        await self.engine.tasks.close()
        if self._inotify is not None:
            self._inotify.close()
        await self.engine.spawner.close()
        if self._inotify is not None and not self._containers:
            self.engine.cgroups.remove_parent()

    # -- to make and to remove -----------------------------------------------------------------------
    async def create(self, plan: ContainerPlan) -> Container:
        """A container that is ready to start. SwarmError or OSError with the reason, and nothing is left of it.

        Its owner must not have another one, nor call this twice at a time.
        """
        await in_thread(self._descriptors.check)
        container = await preparation.prepare(self.engine, plan)
        self._add(container)
        return container

    async def remove(self, container: Container) -> None:
        """Leave nothing of it, running or not. May be repeated; once at a time."""
        await container.remove()
        self._containers.pop(container.record.id, None)
        if self._by_owner.get(container.record.owner) is container:
            del self._by_owner[container.record.owner]

    # -- to find -------------------------------------------------------------------------------------
    def find(self, text: str) -> Container:
        """A container by its id, the beginning of it, or its name. NotFound, or Invalid if it could be several."""
        every = self._containers.values()
        hits = [c for c in every if text in (c.record.id, c.name)]
        hits = hits or [c for c in every if text and c.record.id.startswith(text)]
        if len(hits) > 1:
            raise Invalid(f"container {text} is ambiguous", "give more of its id")
        if not hits:
            raise NotFound(f"No such container: {text}")
        return hits[0]

    def has(self, text: str) -> bool:
        """Whether `text` is of a container here, or of several."""
        try:
            self.find(text)
        except NotFound:
            return False
        except Invalid:
            return True
        return True

    def owned_by(self, owner: str) -> Container | None:
        """The container whose plan had this label."""
        return self._by_owner.get(owner)

    @property
    def owners(self) -> Set[str]:
        """The labels of all containers that have one."""
        return self._by_owner.keys()

    @property
    def running(self) -> int:
        """How many containers have not ended."""
        return sum(1 for container in self._containers.values() if container.running)

    # -- what others hear and tell -------------------------------------------------------------------
    def lives(self, container_id: str) -> bool:
        """There is this very container (full id), and it has not ended."""
        container = self._containers.get(container_id)
        return container is not None and not container.ended.done()

    async def ended(self, container_id: str) -> None:
        """Return when the container has ended; at once if there is none."""
        if (container := self._containers.get(container_id)) is not None:
            await asyncio.shield(container.ended)

    def sandbox_is(self, container_id: str, sandbox: SandboxSpec) -> None:
        """The container joined or left a network."""
        if (container := self._containers.get(container_id)) is not None:
            container.sandbox_is(sandbox)

    def log_of(
        self,
        container: Container,
        *,
        follow: bool = False,
        since: datetime | None = None,
        tail: int | None = None,
    ) -> AsyncGenerator[LogLine, None]:
        """What it wrote; with `follow` until it has ended. `tail`: so many lines of what is there now."""
        assert self._inotify is not None, "the registry is not open"
        return read_log(
            container.log_file, self._inotify, container.ended, follow=follow, since=since, last=tail
        )
