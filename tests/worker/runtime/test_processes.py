"""Processes: a number that is used again is another process, and the end of one is heard of, not looked for."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace

from worker.runtime.processes import ProcessId, ended, identify, is_alive, open_pidfd, send


@contextmanager
def child() -> Iterator[tuple[subprocess.Popen[bytes], ProcessId]]:
    """One that lasts until it is killed."""
    process = subprocess.Popen(["sleep", "3600"])
    try:
        known = identify(process.pid)
        assert known is not None
        yield process, known
    finally:
        process.kill()
        process.wait()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_process_is_known_by_its_number_and_its_start() -> None:
    with child() as (process, known):
        assert known.pid == process.pid and is_alive(known)
        assert not is_alive(replace(known, started=known.started + 1))
    assert not is_alive(known) and not is_alive(None)
    assert identify(process.pid) is None


def test_a_zombie_does_not_live() -> None:
    with child() as (process, known):
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not reaped
        assert identify(process.pid) is None and not is_alive(known)


def test_a_signal_reaches_this_process_and_never_a_later_one_of_its_number() -> None:
    with child() as (process, known):
        before = descriptors()
        assert not send(replace(known, started=known.started - 1), signal.SIGKILL)
        assert process.poll() is None
        assert send(known, signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        assert not send(known, signal.SIGTERM)
        assert descriptors() == before


def test_a_pidfd_is_of_what_was_meant_or_is_none() -> None:
    with child() as (_, known):
        before = descriptors()
        assert open_pidfd(replace(known, started=known.started + 1)) is None
        assert descriptors() == before
        fd = open_pidfd(known)
        assert fd is not None
        os.close(fd)
    assert open_pidfd(known) is None


async def test_the_end_is_heard_of() -> None:
    with child() as (process, known):
        before = descriptors()
        waiting = [asyncio.ensure_future(ended(known)) for _ in range(3)]  # noqa: TID251
        given_up = waiting.pop()
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert not any(each.done() for each in waiting)
        process.kill()
        async with asyncio.timeout(10):
            await asyncio.gather(*waiting)
        assert descriptors() == before
    async with asyncio.timeout(10):
        await ended(known)  # at once: it is gone
