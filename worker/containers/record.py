"""What the daemon remembers of a container across its own death: one small file in the container's directory."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct, field

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.files import write_atomically
from worker.containers.phases import Phase
from worker.runtime.conmon import Exit
from worker.runtime.processes import ProcessId
from worker.runtime.spawner_client import MountRequest

_FILE = "container.json"


class ContainerRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`owner` is the plan's label, "" where there is none. On disk it has the name that it had when all were tasks'
    containers, so that a daemon before or after an upgrade adopts what the other left."""

    id: str
    owner: str = field(default="", name="task_id")
    name: str = ""
    image_id: str
    phase: Phase
    created: datetime
    stop_signal: int
    grace_ns: int
    terminal: bool = False
    silent: bool = False  # its output is kept nowhere (log driver none)
    runtime: str = ""
    container: ProcessId | None = None
    supervisor: ProcessId | None = None
    started: datetime | None = None
    exit: Exit | None = None
    mounts: tuple[MountRequest, ...] = ()  # without secret content
    volumes: tuple[str, ...] = ()
    anonymous_volumes: tuple[str, ...] = ()  # of these, those that end with the container
    sandbox: SandboxSpec | None = None


def save(directory: Path, record: ContainerRecord) -> None:
    # Not durable: a power loss ends the container as well, and a torn file is cleaned up like it.
    write_atomically(directory / _FILE, msgspec.json.encode(record), durable=False)


def load(directory: Path) -> ContainerRecord | None:
    """The record; None if the directory holds none that can be read."""
    try:
        return msgspec.json.decode((directory / _FILE).read_bytes(), type=ContainerRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


class Places:
    """All paths of one node's containers, below its state and run directories."""

    def __init__(self, state_dir: Path, run_dir: Path) -> None:
        self.containers = state_dir / "containers"
        self.exits = run_dir / "exits"
        self.runtimes = run_dir / "oci"
        self.supervisors = run_dir / "conmon"
        self.secrets = run_dir / "secrets"

    def make(self) -> None:
        for folder in (self.containers, self.exits, self.runtimes, self.supervisors, self.secrets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o711)

    def of(self, container_id: str) -> Path:
        return self.containers / container_id

    def forget(self, container_id: str) -> None:
        """Remove every file of a container."""
        for folder in (self.of(container_id), self.supervisors / container_id, self.secrets / container_id):
            if folder.exists():
                shutil.rmtree(folder)
        (self.exits / container_id).unlink(missing_ok=True)
