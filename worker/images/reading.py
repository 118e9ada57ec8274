"""The daemon's side of the process that reads an archive: start it, wait for it, end it when nobody waits any more."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from swarmcore.aio import to_the_end
from swarmcore.errors import Internal, Invalid, SwarmError, from_wire
from worker.images.limits import DiskFull
from worker.images.reader import Answer, Failure, Job

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from worker.images.reader import main; main()"
_ANSWER_LIMIT = 1 << 28  # bytes; a thousand configs, and what was unpacked
_CHUNK = 1 << 20


def command() -> tuple[str, ...]:
    """What is started: this very code, whatever the working directory and the environment are."""
    return (sys.executable, "-I", "-c", _CODE, str(_ROOT))


async def read(job: Job) -> Answer:
    """What `job` found. SwarmError if the archive, or the disk, is not as it should be.

    A caller that is cancelled ends the process, and is let go only then: nothing writes to the staging directory
    after this has returned.
    """
    child = await asyncio.create_subprocess_exec(
        *command(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        start_new_session=True,  # a signal to the daemon's process group is the daemon's to handle
    )
    assert child.stdin is not None and child.stdout is not None
    # It waits for its job, so the number is still its own. Not child.kill(): that asks for the exit code first, which
    # asyncio's own waiting then never learns.
    pidfd = os.pidfd_open(child.pid)
    try:
        child.stdin.write(msgspec.json.encode(job) + b"\n")
        found = bytearray()
        while chunk := await child.stdout.read(_CHUNK):
            found += chunk
            if len(found) > _ANSWER_LIMIT:
                raise Invalid("the archive has too many images")
    finally:
        await to_the_end(_ended(child, pidfd))
    if not found:
        raise _died(child.returncode or 0, job)
    answer = msgspec.json.decode(bytes(found), type=Answer)
    if answer.failure is not None:
        raise _error(answer.failure)
    return answer


async def _ended(child: asyncio.subprocess.Process, pidfd: int) -> None:
    """Also one that is not asked any more: it has answered, or nobody waits for it."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    assert child.stdin is not None
    child.stdin.close()
    await child.wait()


def _died(code: int, job: Job) -> SwarmError:
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return Invalid(
            "reading the archive took more processor time, or memory, than an archive of its size may",
            "compress it with gzip or zstd, or load its images one by one",
        )
    log.error("the process that reads archives ended", extra={"code": code, "archive": job.path})
    return Internal(f"the process that reads archives ended with {code}")


def _error(failure: Failure) -> SwarmError:
    if failure.details:
        log.warning(
            "an archive could not be read", extra={"reason": failure.message, "details": failure.details}
        )
    if failure.kind == DiskFull.__name__:
        return DiskFull(failure.message, failure.hint)
    return from_wire(failure.kind, failure.message, failure.hint)
