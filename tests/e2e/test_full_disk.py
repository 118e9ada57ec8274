"""A full disk: what is refused says so, what was acknowledged stays, and with space it goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyswarmd.demo_image import build_demo_image
from pyswarmd.lab.lab import temporary_lab
from swarmcore.errors import SwarmError, Unavailable
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]


@pytest.fixture
async def swarm() -> AsyncIterator[Swarm]:
    """One manager whose state directory holds 2 MiB; the lab unmounts it with all else."""
    async with temporary_lab(f"pst-{os.getpid()}-full", 0) as lab:
        state = lab.host("m1").state_dir
        state.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(state)]
        await asyncio.to_thread(subprocess.run, mount, check=True)
        await lab.up(1, 0)
        yield Swarm(lab)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(1024))
            except OSError:
                return filler


async def test_an_image_that_does_not_fit_is_refused_and_leaves_nothing(swarm: Swarm, tmp_path: Path) -> None:
    archive = tmp_path / "demo.tar"
    archive.write_bytes(build_demo_image())
    state = swarm.host("m1").state_dir
    code, _, err = await swarm.cli("m1", "image", "load", "-i", str(archive))
    assert code == 1
    assert err.startswith("pyswarm: ") and "No space left" in err and err.count("\n") == 1
    assert await swarm.get("m1", "/images/json") == []
    assert not [path for path in (state / "images").rglob("*") if path.is_file()]


async def test_a_manager_without_disk_stops_and_keeps_what_it_acknowledged(swarm: Swarm) -> None:
    state = swarm.host("m1").state_dir
    await swarm.create("before", 0)
    filler = fill(state)
    acknowledged = {"before"}

    async def stopped() -> bool:
        name = f"s{len(acknowledged)}"
        try:
            await swarm.create(name, 0)
        except SwarmError as error:
            return "No space left" in str(error)
        acknowledged.add(name)  # there was room for one more frame
        return False

    await swarm.until(stopped, "the manager to say that its disk is full")
    with pytest.raises(Unavailable, match=r"this manager stopped: .*No space left"):
        await swarm.get("m1", "/services")
    filler.unlink()
    await swarm.lab.restart(["m1"])
    await swarm.leader(["m1"])
    assert acknowledged <= {service["Spec"]["Name"] for service in await swarm.get("m1", "/services")}
    await swarm.create("after", 0)
