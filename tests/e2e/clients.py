"""Stock clients as the tests run them: from the machine, or from tests/clients, where `make setup` puts them."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from msgspec import Struct

from pyswarmd.lab.host import LabHost
from swarmcore.process.children import communicate

FOLDER = Path(__file__).resolve().parents[1] / "clients"


class Result(Struct, frozen=True):
    code: int
    out: str
    err: str


def program(name: str) -> str:
    """Its path. A client that is not there is a fault of the set-up, not a reason to skip."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{FOLDER / 'bin'}")
    assert found is not None, f"{name} is not installed: run make setup"
    return found


async def run(host: LabHost, name: str, *words: str, stdin: bytes | None = None) -> Result:
    """Run a client against a host's daemon (DOCKER_HOST)."""
    process = await asyncio.create_subprocess_exec(
        program(name),
        *words,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=host.environment(),
        cwd=FOLDER,
    )
    out, err = await communicate(process, stdin)
    return Result(process.returncode or 0, out.decode(), err.decode())
