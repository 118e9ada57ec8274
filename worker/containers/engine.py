"""What all containers of a host share, and the removal of one of which nothing is known but its directory."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from swarmcore.aio import Tasks, in_thread
from swarmcore.clock import REAL_CLOCK, Clock
from swarmcore.process.faults import Faults
from worker.containers.etc_files import host_text
from worker.containers.networking import Isolated, Networking
from worker.containers.record import Places
from worker.images.store import ImageStore
from worker.runtime import conmon
from worker.runtime.cgroups import Cgroups
from worker.runtime.conmon import Supervision
from worker.runtime.crun import OciRuntime
from worker.runtime.descriptors import Limit
from worker.runtime.spawner_client import Spawner
from worker.runtime.tools import Tools
from worker.volumes.local import Volumes

_PARALLEL_STARTS = 8  # the kernel's waits for RCU overlap; more only queue at the processors
_LOG_LIMIT = 64 << 20


class Engine(Struct, frozen=True, kw_only=True):
    """`hostname` is the host's: a container on its network has it too. `starts` bounds how many start at once."""

    hostname: str
    conmon: str
    runtimes: Mapping[str, OciRuntime]
    spawner: Spawner
    images: ImageStore
    volumes: Volumes
    networking: Networking
    cgroups: Cgroups
    places: Places
    clock: Clock
    tasks: Tasks
    starts: asyncio.Semaphore
    log_limit: int
    faults: Faults

    def supervision(self, container_id: str, *, terminal: bool = False, silent: bool = False) -> Supervision:
        """Where a container's supervisor reads and writes; `silent`: its output is kept nowhere."""
        directory = self.places.of(container_id)
        return Supervision(
            container_id=container_id,
            bundle=directory / "bundle",
            log=None if silent else directory / "log",
            exits=self.places.exits,
            directory=self.places.supervisors / container_id,
            terminal=terminal,
            log_limit=self.log_limit,
        )


def engine_of_host(
    *,
    state_dir: Path,
    run_dir: Path,
    images: ImageStore,
    tools: Tools,
    cgroup_parent: str,
    hostname: str,
    networking: Networking | None = None,
    clock: Clock = REAL_CLOCK,
    hide_unified: bool = True,
    log_limit: int = _LOG_LIMIT,
    faults: Faults | None = None,
    limit: Limit | None = None,
) -> Engine:
    """One whose containers leave nothing outside of these directories and the cgroup parent.

    `log_limit` in bytes a container; `limit` is of file descriptors in containers, where it is not this process's.
    """
    places, spawner = Places(state_dir, run_dir), Spawner(hide_unified=hide_unified, descriptors=limit)
    return Engine(
        hostname=hostname,
        conmon=tools.conmon,
        runtimes={tool.name: OciRuntime(tool, places.runtimes, spawner) for tool in tools.runtimes},
        spawner=spawner,
        images=images,
        volumes=Volumes(state_dir / "volumes"),
        networking=networking or Isolated(host_text("/etc/resolv.conf")),
        cgroups=Cgroups(cgroup_parent),
        places=places,
        clock=clock,
        tasks=Tasks(),
        starts=asyncio.Semaphore(_PARALLEL_STARTS),
        log_limit=log_limit,
        faults=faults or Faults(),
    )


async def discard(engine: Engine, container_id: str) -> None:
    """Remove a container of which nothing is known but its directory."""
    conmon.kill_unfinished(engine.supervision(container_id))
    for runtime in engine.runtimes.values():
        await runtime.delete(container_id)
    await in_thread(engine.cgroups.destroy, container_id)
    await in_thread(engine.places.forget, container_id)
