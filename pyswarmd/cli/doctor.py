"""`pyswarm doctor`: whether this host can be a node, and what it cannot do; no daemon is needed."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

from pyswarmd.cli import render
from pyswarmd.client import EngineClient
from pyswarmd.config import RUN_DIR
from swarmcore.errors import FailedPrecondition, SwarmError

ANSWER = 5.0  # seconds
COLUMNS = ("WHAT", "STATE", "FOR", "DETAIL")


def add(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="check what this host's kernel and tools can do")
    doctor.add_argument("--run-dir", type=Path, default=RUN_DIR, help="where to try it (%(default)s)")
    doctor.add_argument("--format", help="a template or json")
    doctor.set_defaults(start=_start)


def _start(options: argparse.Namespace) -> int:
    from pyswarmd.doctor import (  # tries kernel features: the other commands start faster without it
        diagnose,
        of_daemon,
    )

    if os.geteuid() != 0:
        raise FailedPrecondition("the doctor needs root: it makes a network namespace", "run it as root")
    found = [*diagnose(options.run_dir), *of_daemon(asyncio.run(_info(options.host)))]
    render.table(
        [
            {"WHAT": entry.name, "STATE": entry.state, "FOR": entry.purpose, "DETAIL": entry.detail}
            for entry in found
        ],
        COLUMNS,
        options.format,
    )
    return 1 if any(entry.state == "missing" for entry in found) else 0


async def _info(host: str) -> dict[str, Any]:
    """What the daemon says, if one runs: none is needed."""
    try:
        async with asyncio.timeout(ANSWER), EngineClient(host) as client:
            return dict(await client.get("/info"))
    except (SwarmError, OSError):
        return {}
