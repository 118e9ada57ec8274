"""The demo: five hosts, the demo image on each, three replicas on three hosts, and what to try next."""

from __future__ import annotations

import asyncio
import io
import sys

from pyswarmd.lab.demo_image import DEMO_PORT, DEMO_REFERENCE, build_demo_image
from pyswarmd.lab.host import LabHost
from pyswarmd.lab.lab import Lab
from swarmcore.errors import Conflict, Internal
from swarmcore.process.children import communicate

_NEXT = """
Try next:
  pyswarm lab exec w2 -- busybox wget -qO- http://{address}:8080/cgi-bin/client   # who answers, whom it sees
  pyswarm lab exec m1 -- pyswarm network check
  pyswarm lab exec m1 -- pyswarm service scale web=10
  pyswarm lab exec m1 -- pyswarm service logs web
  pyswarm lab kill w1          # power w1 off: its replicas move
  pyswarm lab restart w1       # and bring it back
  pyswarm lab exec m2 -- pyswarm node ls
  pyswarm lab ls
  make demo-down               # remove everything
(the command lies in .venv/bin: PATH="$PWD/.venv/bin:$PATH")"""


PUBLISHED = 8080
_PATIENCE = 20.0


async def load_image(host: LabHost, archive: bytes) -> None:
    async with (
        host.client() as client,
        client.request("POST", "/images/load", data=io.BytesIO(archive)) as response,
    ):
        answer = await response.text()
    if '"error"' in answer:
        raise Internal(f"cannot load the demo image on {host.name}: {answer.strip()}")


async def run_demo(lab: Lab) -> None:
    """Idempotent: what is there already is kept."""
    _say("starting five hosts: m1 m2 m3 (managers), w1 w2 (workers)")
    await lab.up(3, 2)
    _say("building the demo image and loading it on every host")
    archive = await asyncio.to_thread(build_demo_image)
    await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
    _say("creating the service web with three replicas, published on port 8080 of every node")
    first = lab.host("m1")
    async with first.client() as client:
        try:
            await client.post(
                "/services/create",
                {
                    "Name": "web",
                    "TaskTemplate": {"ContainerSpec": {"Image": DEMO_REFERENCE}},
                    "Mode": {"Replicated": {"Replicas": 3}},
                    "EndpointSpec": {"Ports": [{"TargetPort": DEMO_PORT, "PublishedPort": PUBLISHED}]},
                },
            )
        except Conflict:
            _say("the service web exists already")

        async def running() -> bool:
            found = await client.get("/services", status="true", filters='{"name":["web"]}')
            status = found[0]["ServiceStatus"]
            return bool(status["RunningTasks"] == status["DesiredTasks"])

        await lab.until(running, "all replicas of web running", 60)
    for words in (["node", "ls"], ["service", "ps", "web", "-f", "desired-state=running"]):
        _say(f"\n$ pyswarm {' '.join(words)}")
        await _show(first, ["pyswarm", *words])
    _say(f"\nport {PUBLISHED} of every node answers from one of the replicas:")
    for host in lab.hosts():
        _say(f"  http://{host.address}:{PUBLISHED}/  ->  {await _answer(first, host.address)}")
    _say(_NEXT.format(address=first.address))


def _say(text: str) -> None:
    print(text, flush=True)


async def _answer(host: LabHost, address: str) -> str:
    """What the published port of a node says, asked from `host`; the mesh may need a moment after the start."""
    words = host.command(["busybox", "wget", "-qO-", f"http://{address}:{PUBLISHED}/"])
    async with asyncio.timeout(_PATIENCE):
        while True:
            process = await asyncio.create_subprocess_exec(
                *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            out, _ = await communicate(process)
            if process.returncode == 0:
                return out.decode().strip()
            await asyncio.sleep(0.1)


async def _show(host: LabHost, words: list[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pyswarmd", "-H", host.endpoint, *words[1:], env=host.environment()
    )
    await communicate(process)
    if process.returncode:
        raise Internal(f"{' '.join(words)} failed")
