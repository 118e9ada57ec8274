"""conmon, the supervisor of one container: it holds its output and exit code while daemons come and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from swarmcore.clock import utc_now
from worker.runtime.cgroups import Cgroups
from worker.runtime.crun import OciRuntime, RuntimeFailed, clean
from worker.runtime.processes import ProcessId, ended, identify, is_alive, send
from worker.runtime.spawner_client import Outcome, Spawner

LOST = 255  # Docker's exit code of a container whose end nobody saw


class Exit(Struct, frozen=True, kw_only=True):
    """How a container ended; `reason` is said only where the code does not."""

    code: int
    oom: bool = False
    at: datetime
    reason: str = ""


class Supervision(Struct, frozen=True, kw_only=True):
    """Where one container's supervisor reads and writes."""

    container_id: str
    bundle: Path
    log: Path | None  # None: the output is kept nowhere
    exits: Path
    directory: Path  # pid files, the mark of an OOM kill
    terminal: bool = False
    log_limit: int = 0

    @property
    def conmon_pid_file(self) -> Path:
        return self.directory / "conmon.pid"

    @property
    def container_pid_file(self) -> Path:
        return self.directory / "container.pid"

    @property
    def exit_file(self) -> Path:
        return self.exits / self.container_id

    def arguments(self, conmon: str, runtime: OciRuntime) -> list[str]:
        return [
            conmon,
            *("--api-version", "1", "--cid", self.container_id, "--cuuid", self.container_id),
            *("--name", self.container_id[:12], "--runtime", runtime.path, "--bundle", str(self.bundle)),
            *(
                "--container-pidfile",
                str(self.container_pid_file),
                "--conmon-pidfile",
                str(self.conmon_pid_file),
            ),
            *("--exit-dir", str(self.exits), "--persist-dir", str(self.directory)),
            *("--log-path", f"k8s-file:{self.log}" if self.log is not None else "none"),
            *("--log-level", "error", "--no-sync-log", "--full-attach"),
            *(["--log-size-max", str(self.log_limit)] if self.log_limit else []),
            *(["--terminal"] if self.terminal else []),
            *(f"--runtime-arg={argument}" for argument in runtime.global_arguments),
        ]


async def create(
    supervision: Supervision, conmon: str, runtime: OciRuntime, spawner: Spawner
) -> tuple[ProcessId, ProcessId]:
    """Create the container under a new conmon; returns both, RuntimeFailed says why it could not be."""
    outcome = await spawner.run(supervision.arguments(conmon, runtime), sync=True)
    pid = _created_pid(outcome)
    container = identify(pid)
    supervisor = _from_pid_file(supervision.conmon_pid_file)
    if container is None or supervisor is None:
        raise RuntimeFailed("the container or its supervisor ended while it was created")
    return container, supervisor


def _created_pid(outcome: Outcome) -> int:
    try:
        answer = json.loads(outcome.sync)
        pid = int(answer.get("data", answer.get("pid", -1)))
    except (ValueError, TypeError, AttributeError):
        raise RuntimeFailed(clean(outcome.err or outcome.sync or "conmon ended without an answer")) from None
    if pid <= 0:
        raise RuntimeFailed(clean(answer.get("message") or outcome.err))
    return pid


def _from_pid_file(path: Path) -> ProcessId | None:
    try:
        return identify(int(path.read_text()))
    except (FileNotFoundError, ValueError):
        return None


def kill_unfinished(supervision: Supervision) -> None:
    """End what a creation that broke off left running."""
    for path in (supervision.conmon_pid_file, supervision.container_pid_file):
        # The file is younger than this boot (the run directory is), but the number may be in use again.
        if (process := _from_pid_file(path)) is not None and _belongs(process.pid, supervision.container_id):
            send(process, 9)


def _belongs(pid: int, container_id: str) -> bool:
    try:
        return container_id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


async def exit_of(
    supervision: Supervision,
    supervisor: ProcessId,
    container: ProcessId,
    cgroups: Cgroups,
    now: Callable[[], datetime] = utc_now,
) -> Exit:
    """Wait for the end of the container. Works as well for one that another daemon started."""
    await ended(supervisor)
    # conmon writes the file before it ends.
    code = _exit_file(supervision.exit_file)
    reason = ""
    if code is None:
        if is_alive(container):
            send(container, 9)
            await ended(container)
            code, reason = 137, "its supervisor conmon died"
        else:
            code, reason = LOST, "its end was not seen (the host restarted or conmon was killed)"
    # Read before the runtime deletes the group. conmon's own mark is missing at times.
    oom = (supervision.directory / "oom").exists() or cgroups.oom_kills(supervision.container_id) > 0
    return Exit(code=code, oom=oom, at=now(), reason=reason)


def _exit_file(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
