"""Processes, cgroups and mounts of a lab host, found in /proc and /sys by the host's cgroup name.

Every process of a host is born inside the cgroup `<lab>/<host>` (containers below it), so nothing
that a host started can hide, whatever crashed in between.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from swarmcore.clock import monotonic
from swarmcore.errors import Internal

CGROUPS = Path("/sys/fs/cgroup")
_MNT_DETACH = 2


def hierarchies() -> list[Path]:
    """The roots of all mounted cgroup hierarchies (v1 controllers and v2)."""
    roots = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind in ("cgroup", "cgroup2"):
            roots.append(Path(where))
    return roots


def tracking_hierarchy() -> Path:
    """The hierarchy whose cgroup.procs tell who belongs to a host: pids on v1, else v2."""
    pids = CGROUPS / "pids"
    return pids if (pids / "cgroup.procs").exists() else CGROUPS


def enter(cgroup: str) -> None:
    """Move this process into `cgroup` (made if needed): called in the child before exec."""
    group = tracking_hierarchy() / cgroup
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text(str(os.getpid()))


def pids_in(cgroup: str) -> set[int]:
    """Processes in `cgroup` or below it, in any hierarchy."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            lines = (entry / "cgroup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines:
            path = line.split(":", 2)[2].lstrip("/")
            if path == cgroup or path.startswith(cgroup + "/"):
                found.add(int(entry.name))
                break
    return found


def pids_in_namespace(path: Path) -> set[int]:
    """Processes whose network namespace is the one bound at `path`."""
    if not path.exists():
        return set()
    wanted = path.stat().st_ino
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "ns/net").stat().st_ino == wanted:
                found.add(int(entry.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def send(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


async def kill_all(
    find: Callable[[], set[int]], seconds: float = 10.0, clock: Callable[[], float] = monotonic
) -> None:
    """SIGKILL whatever `find` finds until it finds nothing."""
    end = clock() + seconds
    while alive := {pid for pid in find() if not _is_zombie(pid)}:
        if clock() > end:
            raise Internal(f"processes {sorted(alive)} do not end")
        send(alive, signal.SIGKILL)
        send(alive, signal.SIGCONT)
        await asyncio.sleep(0.01)


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def mounts_below(directory: Path) -> list[Path]:
    """Mount points at or below `directory`, deepest first."""
    prefix = str(directory)
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = line.split()[4].encode().decode("unicode_escape")
        if where == prefix or where.startswith(prefix + "/"):
            found.append(Path(where))
    return sorted(found, key=lambda p: len(p.parts), reverse=True)


def unmount_below(directory: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for _ in range(8):  # a mount point may be mounted over several times
        found = mounts_below(directory)
        if not found:
            return
        for where in found:
            if libc.umount2(os.fsencode(where), _MNT_DETACH):
                raise Internal(f"cannot unmount {where}: {os.strerror(ctypes.get_errno())}")


def _folders(top: Path) -> Iterator[Path]:
    for folder, _, _ in os.walk(top, topdown=False):
        yield Path(folder)


async def remove_cgroups(cgroup: str, seconds: float = 5.0, clock: Callable[[], float] = monotonic) -> None:
    """Remove `cgroup` and all below it from every hierarchy; the kernel may need a moment after the last exit."""
    end = clock() + seconds
    for root in hierarchies():
        top = root / cgroup
        while top.is_dir():
            busy: OSError | None = None
            for folder in _folders(top):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    busy = error
            if busy is not None:
                if clock() > end:
                    raise Internal(f"cannot remove cgroup {top}: {busy}")
                await asyncio.sleep(0.02)
