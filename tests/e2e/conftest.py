"""A five-host lab for the module, repaired after every test that broke something."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator

import pytest

from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import build_demo_image
from pyswarmd.lab.host import LabHost
from pyswarmd.lab.lab import Lab
from tests.e2e.places import HERE
from tests.e2e.swarm import Swarm

NAMES = ("m1", "m2", "m3", "w1", "w2")
LINES = 100  # of every host's log in the report of a failed test
_TRACEBACK = 60  # lines of the log that are shown of a crash
_CRASH = re.compile(r" (ERROR|CRITICAL) ")


@pytest.fixture(scope="module")
def lab_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A swarm of three managers and two workers with the demo image on every host."""
    name = f"pst-{os.getpid()}-{request.module.__name__.rpartition('_')[2]}"[:24].replace("_", "-").lower()
    lab = Lab(name, wires=HERE)

    async def up() -> None:
        await lab.down()
        await lab.up(3, 2)
        archive = build_demo_image()
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))

    try:
        asyncio.run(up())
        yield name
        faults = {host.name: found for host in lab.hosts() if (found := crashes(host))}
        assert not faults, f"parts of the daemons ended by faults that nobody foresaw: {faults}"
    finally:
        asyncio.run(lab.down())


def crashes(host: LabHost) -> list[str]:
    if not host.log_file.exists():
        return []
    lines = host.log_file.read_text(errors="replace").splitlines()
    found = [number for number, line in enumerate(lines) if _CRASH.search(line)]
    return ["\n".join(lines[number : number + _TRACEBACK]) for number in found]


def show_logs(lab: Lab) -> None:
    """The ends of the daemons' logs, into the report of the failed test."""
    for host in lab.hosts():
        if host.log_file.exists():
            lines = host.log_file.read_text(errors="replace").splitlines()[-LINES:]
            print(f"--- {host.name}", *lines, sep="\n")


@pytest.fixture
async def swarm(lab_name: str, request: pytest.FixtureRequest) -> AsyncIterator[Swarm]:
    swarm = Swarm(Lab(lab_name))
    try:
        await swarm.repair(NAMES)
    except BaseException:
        show_logs(swarm.lab)
        raise
    failed = request.session.testsfailed
    yield swarm
    if request.session.testsfailed > failed:
        show_logs(swarm.lab)
