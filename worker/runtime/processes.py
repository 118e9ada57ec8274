"""Processes that may end and whose number may be used again: identity, signals, end."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from msgspec import Struct


class ProcessId(Struct, frozen=True, kw_only=True):
    """A pid with the start time in clock ticks since boot: never mistaken for a later process."""

    pid: int
    started: int


def _stat(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(") ")[2].split()
    return fields[0], int(fields[19])


def identify(pid: int) -> ProcessId | None:
    """The process that has this number now; None if there is none that lives."""
    found = _stat(pid)
    return ProcessId(pid=pid, started=found[1]) if found is not None and found[0] not in "ZX" else None


def is_alive(process: ProcessId | None) -> bool:
    return process is not None and identify(process.pid) == process


def open_pidfd(process: ProcessId) -> int | None:
    """A pidfd of exactly this process, None if it has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # Opened first, compared then: from here on the descriptor cannot mean another process.
    if not is_alive(process):
        os.close(fd)
        return None
    return fd


def send(process: ProcessId, number: int) -> bool:
    """Send a signal; False if the process has ended."""
    if (fd := open_pidfd(process)) is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


async def ended(process: ProcessId) -> None:
    """Return when the process has ended; no polling."""
    if (fd := open_pidfd(process)) is None:
        return
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def fire() -> None:
        loop.remove_reader(fd)
        if not over.done():
            over.set_result(None)

    loop.add_reader(fd, fire)
    try:
        await over
    finally:
        loop.remove_reader(fd)
        os.close(fd)
