"""Speak to an OCI runtime (crun or runc): the arguments it takes, its state, what its refusals mean."""

from __future__ import annotations

import json
from pathlib import Path

from swarmcore.text.patterns import IGNORECASE, Pattern
from worker.runtime.spawner_client import Outcome, Spawner, SpawnerGone
from worker.runtime.tools import RuntimeTool

# What crun says when the host is not one it can work on; another runtime may then do.
_LONGEST = 1 << 16  # of what a runtime says; it may repeat a container's whole command line
_REFUSALS = Pattern(
    r"not supported|unsupported|hybrid mode|unknown version specified|unknown field|cgroups? v[12]",
    _LONGEST,
    IGNORECASE,
)
_MISSING = Pattern(r"no such container|does not exist|No such file or directory", _LONGEST, IGNORECASE)
_NOT_FOUND = Pattern(r"not found|no such file or directory", _LONGEST, IGNORECASE)
_NOT_ALLOWED = Pattern(r"permission denied|is a directory|exec format error", _LONGEST, IGNORECASE)
_RUNC_STAMP = Pattern(r'time="[^"]*" level=\w+ msg="?', _LONGEST)


class RuntimeFailed(Exception):
    """The runtime did not do what it was asked; the text is its own."""


class OciRuntime:
    """One runtime with a state directory of its own."""

    def __init__(self, tool: RuntimeTool, root: Path, spawner: Spawner) -> None:
        self.name, self.path = tool.name, tool.path
        self._root = root / tool.name
        self._spawner = spawner

    @property
    def global_arguments(self) -> list[str]:
        return [f"--root={self._root}"]

    async def _run(self, *words: str) -> Outcome:
        return await self._spawner.run([self.path, *self.global_arguments, *words])

    async def start(self, container_id: str) -> None:
        outcome = await self._run("start", container_id)
        if outcome.code != 0:
            raise RuntimeFailed(clean(outcome.err))

    async def kill(self, container_id: str, number: int) -> None:
        outcome = await self._run("kill", container_id, str(number))
        if outcome.code != 0:
            raise RuntimeFailed(clean(outcome.err))

    async def delete(self, container_id: str) -> None:
        """Kill what runs and forget the container; not an error if the runtime does not know it."""
        if not (self._root / container_id).exists():
            return
        try:
            outcome = await self._run("delete", "--force", container_id)
        except SpawnerGone:
            outcome = await self._run("delete", "--force", container_id)
        if outcome.code != 0 and not _MISSING.search(outcome.err):
            raise RuntimeFailed(clean(outcome.err))

    async def state(self, container_id: str) -> dict[str, object] | None:
        """The OCI state, None if there is no such container."""
        outcome = await self._run("state", container_id)
        if outcome.code == 0:
            found: dict[str, object] = json.loads(outcome.out)
            return found
        if _MISSING.search(outcome.err):
            return None
        raise RuntimeFailed(clean(outcome.err))


def clean(text: str) -> str:
    """One line without the runtimes' stamps and levels."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return "no reason given"
    line = lines[-1][-_LONGEST:]
    if stamp := _RUNC_STAMP.match(line):
        line = line[stamp.end() :]
    line = line.removesuffix('"')
    first, colon, rest = line.partition(": ")
    if colon and "T" in first and not any(c.isspace() for c in first):  # crun's: 2026-01-31T12:00:00.5Z
        line = rest
    return line.removeprefix("error: ").strip()


def refuses_host(message: str) -> bool:
    """Whether the runtime will not work here at all, so that the next one should be tried."""
    return _REFUSALS.search(message) is not None


def exit_code_of(message: str) -> int:
    """Docker's exit code for a container that could not be started: 127 not found, 126 not runnable."""
    if _NOT_FOUND.search(message):
        return 127
    return 126 if _NOT_ALLOWED.search(message) else 128
