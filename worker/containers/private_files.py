"""The files that a plan brings along (secrets, configs): a tmpfs that only the container's namespace sees."""

from __future__ import annotations

import base64
from pathlib import Path

from worker.containers.plan import PlannedFile
from worker.runtime import mounts
from worker.runtime.bundle import clean_target
from worker.runtime.spawner_client import MountRequest, SecretFile


def private_files(
    files: tuple[PlannedFile, ...], folder: Path
) -> tuple[dict[str, str], tuple[MountRequest, ...]]:
    """Path in the container -> file below `folder`, and the mount that makes them there; nothing of nothing.

    Invalid where a target cannot be one.
    """
    if not files:
        return {}, ()
    targets = {clean_target(file.target): str(folder / str(number)) for number, file in enumerate(files)}
    request = MountRequest(
        source="tmpfs",
        target=str(folder),
        kind="tmpfs",
        flags=mounts.MS_NOSUID | mounts.MS_NODEV | mounts.MS_NOEXEC,
        options="mode=0711",
        files=tuple(_content(str(number), file) for number, file in enumerate(files)),
    )
    return targets, (request,)


def _content(name: str, file: PlannedFile) -> SecretFile:
    return SecretFile(
        name=name,
        content=base64.b64encode(file.content).decode(),
        uid=file.uid,
        gid=file.gid,
        mode=file.mode & 0o7777,
    )
