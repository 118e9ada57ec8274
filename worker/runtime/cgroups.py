"""The control groups of containers, under version 1, version 2 and both: find, count, empty, remove."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from swarmcore.clock import monotonic

_EMPTY_WITHIN = 5.0


def mount_points(mountinfo: str) -> dict[str, Path]:
    """Hierarchies by what they control: `memory`, `pids` … under version 1, `unified` for version 2."""
    found: dict[str, Path] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, rest = right.partition(" ")
        where = Path(left.split(" ")[4].replace("\\040", " "))
        if kind == "cgroup2":
            found.setdefault("unified", where)
        elif kind == "cgroup":
            for option in rest.split(" ")[-1].split(","):
                found.setdefault(option, where)
    found.pop("rw", None)
    return found


def clean_parent(parent: str) -> str:
    """`a/b` from what was configured; it can never name the root or leave it."""
    parts = [part for part in parent.split("/") if part]
    if not parts or any(part in (".", "..") for part in parts):
        raise ValueError(f"invalid cgroup parent {parent!r}")
    return "/".join(parts)


class Cgroups:
    """Everything below one parent group, in all hierarchies of the host."""

    def __init__(
        self,
        parent: str,
        mountinfo: Path = Path("/proc/self/mountinfo"),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._clock = clock
        self.parent = clean_parent(parent)
        self._mounts = mount_points(mountinfo.read_text())

    @property
    def available(self) -> bool:
        return bool(self._mounts)

    def path(self, name: str) -> str:
        """As the runtimes want it: absolute, below each hierarchy's mount."""
        return f"/{self.parent}/{name}"

    def directories(self, name: str = "") -> list[Path]:
        folders = {mount / self.parent / name for mount in self._mounts.values()}
        return sorted(folder for folder in folders if folder.is_dir())

    def oom_kills(self, name: str) -> int:
        """How often the kernel killed in this group for want of memory."""
        v1 = self._mounts.get("memory")
        v2 = self._mounts.get("unified")
        candidates = [
            *([v1 / self.parent / name / "memory.oom_control"] if v1 else []),
            *([v2 / self.parent / name / "memory.events"] if v2 else []),
        ]
        for candidate in candidates:
            try:
                text = candidate.read_text()
            except OSError:
                continue
            for line in text.splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
        return 0

    def pids(self, name: str = "") -> set[int]:
        """All processes in the group and below."""
        found: set[int] = set()
        for folder in self.directories(name):
            for below, _, files in os.walk(folder):
                if "cgroup.procs" in files:
                    try:
                        found |= {int(line) for line in (Path(below) / "cgroup.procs").read_text().split()}
                    except OSError:
                        continue  # removed since
        return found - {0}

    def destroy(self, name: str = "") -> None:
        """Kill whatever is left in the group and remove it. Blocks for as long as processes take to die."""
        deadline = self._clock() + _EMPTY_WITHIN
        while True:
            for pid in self.pids(name):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if self._remove(name):
                return
            if self._clock() > deadline:
                raise TimeoutError(f"the control group {self.path(name)} does not become empty")
            time.sleep(0.005)  # a killed process leaves its group a moment later

    def remove_parent(self) -> None:
        """Take the parent group away if nothing is in it (one a lab or a unit made above it stays)."""
        for folder in self.directories():
            try:
                folder.rmdir()
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT):
                    raise

    def _remove(self, name: str) -> bool:
        for folder in self.directories(name):
            for below, _, _ in os.walk(folder, topdown=False):
                try:
                    Path(below).rmdir()
                except OSError as error:
                    if error.errno == errno.EBUSY:
                        return False
                    if error.errno != errno.ENOENT:
                        raise
        return True
