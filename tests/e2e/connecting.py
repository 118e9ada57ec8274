"""Connections as clients of a rolling update make them.

A task is RUNNING when its process is; its server listens some milliseconds later, and without a health check nobody
can know when. A connection that is refused is therefore tried again, for less time than any fault of the mesh or of
virtual addresses lasts: those refuse for as long as it takes until the table is right.
"""

from __future__ import annotations

import asyncio
import time

LISTENS_WITHIN = 0.2  # seconds
_AGAIN = 0.01


async def connect(
    host: str, port: int, *, patient: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection; if `patient`, ConnectionRefusedError only when it is refused for LISTENS_WITHIN."""
    end = time.monotonic() + LISTENS_WITHIN
    while True:
        try:
            return await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            if not patient or time.monotonic() > end:
                raise
            await asyncio.sleep(_AGAIN)
