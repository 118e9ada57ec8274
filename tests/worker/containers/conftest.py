"""A node's runtime in directories of its own; what a test leaves behind fails it."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from msgspec import Struct

from pyswarmd.lab.demo_image import build_demo_image
from swarmcore.ids import new_id
from swarmcore.model.container import ContainerSpec
from swarmcore.model.network import NetworkAttachmentConfig
from swarmcore.model.resources import Limit, ResourceRequirements
from swarmcore.model.secret import Config, Secret
from swarmcore.model.task import Task, TaskSpec
from worker.containers.engine import engine_of_host
from worker.containers.registry import ContainerRegistry
from worker.images.store import ImageStore
from worker.runtime.descriptors import Descriptors
from worker.runtime.tools import preflight
from worker.tasks.container_task import ContainerTask
from worker.tasks.controller import ContainerFailed
from worker.tasks.executor import ContainerExecutor

IMAGE = "pyswarm/demo:latest"


class Outcome(Struct, frozen=True):
    code: int
    out: str
    err: str
    oom: bool = False
    message: str = ""


class Node:
    """The containers of a host, an executor of tasks, and shortcuts for what nearly every test does with them."""

    def __init__(self, base: Path, cgroup_parent: str) -> None:
        self.base, self.cgroup_parent = base, cgroup_parent
        self.state_dir, self.run_dir = base / "state", base / "run"
        self.images = ImageStore(self.state_dir / "images")
        self.make()

    def make(self, *, descriptors: Descriptors | None = None, **options: object) -> None:
        """What a daemon has, on these directories."""
        arguments: dict[str, object] = {
            "state_dir": self.state_dir,
            "run_dir": self.run_dir,
            "images": self.images,
            "tools": preflight(),
            "cgroup_parent": self.cgroup_parent,
            "hostname": "test-node",
        }
        engine = engine_of_host(**{**arguments, **options})  # type: ignore[arg-type]
        self.containers = ContainerRegistry(engine, descriptors)
        self.executor = ContainerExecutor(self.containers)

    async def open(self) -> None:
        await self.images.open()
        archive = self.base / "demo.tar"
        archive.write_bytes(build_demo_image())
        await self.images.load(archive)
        await self.containers.open()

    async def close(self) -> None:
        await self.executor.close()
        await self.containers.close()

    async def adopt(self) -> None:
        """Another daemon takes over what one left that is gone."""
        self.make()
        await self.containers.open()

    async def replace(self, *, descriptors: Descriptors | None = None, **options: object) -> None:
        """Another daemon takes over."""
        await self.close()
        self.make(descriptors=descriptors, **options)
        await self.containers.open()

    def task(
        self,
        command: str | Sequence[str],
        *,
        limits: Limit | None = None,
        network: str = "",
        **spec: object,
    ) -> Task:
        args = ("sh", "-c", command) if isinstance(command, str) else tuple(command)
        fields: dict[str, object] = {"image": IMAGE, "args": args, **spec}
        return Task(
            id=new_id(),
            spec=TaskSpec(
                container_spec=ContainerSpec(**fields),  # type: ignore[arg-type]
                resources=ResourceRequirements(limits=limits) if limits else None,
                networks=(NetworkAttachmentConfig(target=network),) if network else (),
            ),
        )

    async def started(
        self, task: Task, secrets: dict[str, Secret] | None = None, configs: dict[str, Config] | None = None
    ) -> ContainerTask:
        controller = await self.executor.controller(task, secrets or {}, configs or {})
        await controller.prepare()
        await controller.start()
        return controller

    async def outcome(self, task: Task) -> Outcome:
        controller = await self.executor.controller(task, {}, {})
        oom, message = False, ""
        try:
            code = await controller.wait()
        except ContainerFailed as failure:
            code, oom, message = failure.exit_code, failure.oom, str(failure)
        streams = {"stdout": b"", "stderr": b""}
        async for line in self.executor.logs(task.id):
            streams[line.stream] += line.data
        return Outcome(code, streams["stdout"].decode(), streams["stderr"].decode(), oom, message)

    async def run(self, command: str | Sequence[str], **options: object) -> Outcome:
        task = self.task(command, **options)  # type: ignore[arg-type]
        await self.started(task)
        return await self.outcome(task)

    def leftovers(self) -> list[str]:
        """Processes, mounts, control groups and files of containers that are still there."""
        mine = str(self.base)
        found = [
            f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if mine in line
        ]
        found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"**/{self.cgroup_parent}")]
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                try:
                    command = (folder / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if mine in command:
                    found.append(f"process {folder.name} {command!r}")
        for folder in (self.state_dir / "containers", self.run_dir / "conmon", self.run_dir / "exits"):
            found += [str(path) for path in folder.iterdir()]
        found += [str(path) for path in self.run_dir.glob("oci/*/*")]
        return found


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    made = Node(tmp_path, f"pyswarm-test-{secrets.token_hex(4)}")
    await made.open()
    try:
        yield made
    finally:
        await made.executor.sweep(())
        await made.close()
    assert made.leftovers() == []
