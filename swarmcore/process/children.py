"""Child processes that end with whoever waits for them."""

from __future__ import annotations

from asyncio.subprocess import Process


async def communicate(process: Process, data: bytes | None = None) -> tuple[bytes, bytes]:
    """Its output and errors (where they are pipes) once it has ended; `data` is its input.

    Who is cancelled meanwhile leaves nothing behind: the process is killed and waited for.
    """
    try:
        out, err = await process.communicate(data)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return out or b"", err or b""
