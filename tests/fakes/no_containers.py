"""The real registry of a host on which nothing runs and nothing can: for daemons in tests without root."""

from __future__ import annotations

from pathlib import Path

from worker.containers.engine import engine_of_host
from worker.containers.registry import ContainerRegistry
from worker.images.store import ImageStore
from worker.runtime.tools import Tools


def no_containers(folder: Path, images: ImageStore) -> ContainerRegistry:
    return ContainerRegistry(
        engine_of_host(
            state_dir=folder,
            run_dir=folder / "run",
            images=images,
            tools=Tools(conmon="/nowhere/conmon", runtimes=()),
            cgroup_parent="none",
            hostname="m1",
        )
    )
