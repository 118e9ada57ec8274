"""Every command that some text of the program names, run where the text is given: hints can be followed."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyswarmd.lab.demo_image import DEMO_PORT, DEMO_REFERENCE, base_layer, build_demo_image, find_busybox
from pyswarmd.lab.lab import temporary_lab
from swarmcore.process.children import communicate
from tests.e2e.conftest import crashes
from tests.e2e.swarm import ROOT, Swarm
from tests.hints import hinted

pytestmark = [pytest.mark.lab, pytest.mark.root]
# Names of commands only, in messages that are Docker's.
NAMES = {"pyswarm join"}


class Follower(Swarm):
    """Does what hints say, word for word; `followed` are the hints."""

    def __init__(self, swarm: Swarm) -> None:
        super().__init__(swarm.lab)
        self.followed: set[str] = set()

    async def follow(self, hint: str, host: str = "", **values: str) -> str:
        """The command's output; it must end well. `values` stand for words of the hint."""
        self.followed.add(hint)
        words = [values.get(word, word) for word in shlex.split(hint)[1:]]
        if words[0] == "lab":
            words[1:1] = ["--name", self.lab.name]
        options = ["-H", self.host(host).endpoint] if host else []
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pyswarmd", *options, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **(self.host(host).environment() if host else os.environ),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            cwd=ROOT,
        )
        out, err = await communicate(process)
        assert process.returncode == 0, f"{hint}: exit {process.returncode}: {err.decode()}"
        return out.decode()


@pytest.fixture
async def swarm() -> AsyncIterator[Follower]:
    async with temporary_lab(f"pst-{os.getpid()}-hints", 2, 2) as lab:
        yield Follower(Swarm(lab))


async def test_hints_can_be_followed(swarm: Follower, tmp_path: Path) -> None:
    await images_and_services(swarm, tmp_path)
    await faults_of_the_demo(swarm)
    await swarm_and_networks(swarm)
    await leaving(swarm)
    assert {host.name: crashes(host) for host in swarm.lab.hosts() if host.name != "w1"} == {
        "m1": [],
        "m2": [],
        "w2": [],
    }
    await swarm.follow("pyswarm lab ls")
    await swarm.follow("pyswarm lab down")
    assert hinted() - swarm.followed == NAMES


async def images_and_services(swarm: Follower, tmp_path: Path) -> None:
    archive, files = tmp_path / "demo.tar", tmp_path / "root.tar"
    archive.write_bytes(build_demo_image())
    files.write_bytes(base_layer(find_busybox()))
    for name in ("m1", "m2", "w1", "w2"):
        await swarm.follow("pyswarm image load -i FILE", name, FILE=str(archive))
    await swarm.follow("pyswarm image import FILE NAME", "m1", FILE=str(files), NAME="imported:1")
    await swarm.follow("pyswarm image rm IMAGE", "m1", IMAGE="imported:1")
    await swarm.publish("web", 4, ports=[{"TargetPort": DEMO_PORT, "PublishedPort": 8080}])
    await swarm.until_running("web", 4)
    assert DEMO_REFERENCE in await swarm.follow("pyswarm service ps X", "m1", X="web")
    assert DEMO_REFERENCE in await swarm.follow("pyswarm service ps SERVICE", "m1", SERVICE="web")
    assert DEMO_REFERENCE in await swarm.follow("pyswarm node ps", "m1")
    assert "w2" in await swarm.follow("pyswarm node ls", "m1")
    created = (await swarm.follow("pyswarm service create IMAGE", "m1", IMAGE=DEMO_REFERENCE)).split()[0]
    await swarm.delete("m1", f"/services/{created}")


async def faults_of_the_demo(swarm: Follower) -> None:
    """What `lab demo` proposes at its end."""
    shown = "http://{address}:8080/cgi-bin/client"
    url = shown.format(address=swarm.host("m1").address)

    async def served() -> bool:
        return (await swarm.requests(swarm.lab.network.path("w2"), url, count=1)).total == 1

    await swarm.until(served, "the mesh to serve the port")
    assert await swarm.follow(f"pyswarm lab exec w2 -- busybox wget -qO- {shown}", **{shown: url})
    await swarm.follow("pyswarm lab exec m1 -- pyswarm network check")
    await swarm.follow("pyswarm lab exec m1 -- pyswarm service scale web=10")
    await swarm.follow("pyswarm lab exec m1 -- pyswarm service logs web")
    await swarm.follow("pyswarm lab kill w1")
    await swarm.follow("pyswarm lab restart w1")
    await swarm.until_ready(["w1"], "m1")
    for name in ("m1", "m2"):
        assert "w1" in await swarm.follow(f"pyswarm lab exec {name} -- pyswarm node ls")
    await swarm.delete("m1", "/services/web")


async def swarm_and_networks(swarm: Follower) -> None:
    await swarm.follow("pyswarm doctor")
    await swarm.follow("pyswarm update --max-replicas 100000", "m1")

    async def removed() -> bool:
        await swarm.delete("m1", "/networks/ingress")
        return True

    await swarm.until(removed, "the ingress network to be free")
    await swarm.follow("pyswarm network create -d overlay --ingress ingress", "m1")
    await swarm.follow("pyswarm join-token manager", "m1")
    await swarm.follow("pyswarm node demote self", "m2")
    assert not (await swarm.get("m2", "/info"))["Swarm"]["ControlAvailable"]


async def leaving(swarm: Follower) -> None:
    """Out, a swarm of its own, a daemon that cannot take it up again, and back."""
    await swarm.follow("pyswarm leave", "w1")
    await swarm.follow("pyswarm init", "w1")
    await swarm.lab.host("w1").stop_daemon()
    (swarm.lab.host("w1").state_dir / "node.json").write_text("damaged")
    await swarm.lab.restart(["w1"])
    swarm.followed.add("pyswarm daemon")
    found = (await swarm.get("w1", "/info"))["Swarm"]
    assert found["LocalNodeState"] == "error" and "node.json is damaged" in found["Error"]
    await swarm.follow("pyswarm leave --force", "w1")
    shown = await swarm.follow("pyswarm join-token worker", "m1")
    command = next(line.strip() for line in shown.splitlines() if " join " in line)
    _, _, _, token, address = command.split()
    await swarm.follow("pyswarm join --token TOKEN HOST:PORT", "w1", **{"TOKEN": token, "HOST:PORT": address})
    swarm.followed.add("pyswarm join --token X X")
    await swarm.until_ready(["w1"], "m1")
