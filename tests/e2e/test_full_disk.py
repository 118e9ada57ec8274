"""A full disk: what is refused says so, what was acknowledged stays, and with space it goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import build_demo_image
from pyswarmd.lab.lab import temporary_lab
from swarmcore.errors import SwarmError, Unavailable
from tests.e2e.conftest import crashes
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
    left = [path.name for path in (state / "images").rglob("*") if path.is_file()]
    assert left == ["images.json"], "the list, which is empty"


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


@pytest.fixture
async def worker_with_small_disk() -> AsyncIterator[Swarm]:
    """A manager, and a worker whose state directory holds 16 MiB, with the demo image."""
    async with temporary_lab(f"pst-{os.getpid()}-fullw", 0) as lab:
        state = lab.host("w1").state_dir
        state.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(state)]
        await asyncio.to_thread(subprocess.run, mount, check=True)
        await lab.up(1, 1)
        await load_image(lab.host("w1"), build_demo_image())
        yield Swarm(lab)


async def test_a_worker_without_disk_stays_says_so_and_comes_back_by_itself(
    worker_with_small_disk: Swarm,
) -> None:
    """Its agent ended with the first write that failed, for good: the node was Down while its containers ran."""
    swarm = worker_with_small_disk
    on_worker = {"Constraints": ["node.hostname==w1"]}
    await swarm.publish("kept", 1, placement=on_worker)
    (kept,) = await swarm.until_running("kept", 1)
    filler = fill(swarm.host("w1").state_dir)

    await swarm.publish("more", 1, placement=on_worker)

    async def rejected() -> bool:
        errors = [task["Status"].get("Err", "") for task in await swarm.tasks("more")]
        return any("full" in error or "No space left" in error for error in errors)

    async def said() -> bool:
        status = (await swarm.nodes())["w1"]["Status"]
        return status["State"] == "ready" and "full" in status.get("Message", "")

    await swarm.until(rejected, "the new task to be refused with the reason")
    await swarm.until(said, "the node to say what is wrong")
    assert "full" in (await swarm.get("w1", "/info"))["Swarm"]["Error"]
    async with swarm.host("w1").client() as client, client.request("GET", "/metrics") as response:
        metrics = await response.text()
    assert 'pyswarm_faults_total{part="task database"}' in metrics
    code, _, err = await swarm.cli("m1", "node", "ls")
    assert code == 0 and err.startswith("w1: task database: ")

    # A daemon that starts on the full disk, and a session that breaks: neither ends the agent.
    await swarm.lab.restart(["w1", "m1"])

    filler.unlink()
    await swarm.until_running("more", 1)
    await swarm.until_ready(["w1"], "m1")

    async def well() -> bool:
        return not (await swarm.nodes())["w1"]["Status"].get("Message")

    await swarm.until(well, "the node to be well again")
    (still,) = await swarm.running("kept")
    assert still["Status"]["ContainerStatus"] == kept["Status"]["ContainerStatus"], "it ran on"
    assert {host.name: crashes(host) for host in swarm.lab.hosts()} == {"m1": [], "w1": []}
