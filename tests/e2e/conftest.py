"""A five-host lab for the module, repaired after every test that broke something."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from pyswarmd.demo_image import build_demo_image
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.lab import Lab
from tests.e2e.swarm import Swarm

NAMES = ("m1", "m2", "m3", "w1", "w2")


@pytest.fixture(scope="module")
def lab_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A swarm of three managers and two workers with the demo image on every host."""
    name = f"pst-{os.getpid()}-{request.module.__name__.rpartition('_')[2]}"[:24].replace("_", "-").lower()
    lab = Lab(name)

    async def up() -> None:
        await lab.down()
        await lab.up(3, 2)
        archive = build_demo_image()
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))

    failed = request.session.testsfailed
    try:
        asyncio.run(up())
        yield name
    finally:
        if request.session.testsfailed > failed:
            show_logs(lab)
        asyncio.run(lab.down())


def show_logs(lab: Lab) -> None:
    """The ends of the daemons' logs, into the report of the failed test."""
    for host in lab.hosts():
        if host.log_file.exists():
            lines = host.log_file.read_text(errors="replace").splitlines()[-60:]
            print(f"--- {host.name}", *lines, sep="\n")


@pytest.fixture
async def swarm(lab_name: str) -> AsyncIterator[Swarm]:
    swarm = Swarm(Lab(lab_name))
    try:
        await swarm.repair(NAMES)
    except BaseException:
        show_logs(swarm.lab)
        raise
    yield swarm
