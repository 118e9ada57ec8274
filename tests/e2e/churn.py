"""Services that come and go on three networks, and what they leave behind: nothing.

    python -m tests.e2e.churn [--services 200] [--wave 20] [--hosts 3]

Makes a lab of its own, prints what differs after the churn, and ends with 1 if anything does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from netoverlay.host import SWEEP
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import build_demo_image
from pyswarmd.lab.lab import temporary_lab
from swarmcore.errors import Unavailable
from tests.e2e.census import census, differences, resident
from tests.e2e.swarm import Swarm

NETWORKS = ("red", "green", "blue")
# Containers that stay: what churn changes in namespaces that live on is counted too. None is on `blue`, whose
# namespaces come and go.
_STAYING = NETWORKS[:2]


async def prepare(swarm: Swarm) -> None:
    """The networks, and a container on every host that stays."""
    for name in NETWORKS:
        await swarm.network(name)
    hosts = len(swarm.lab.hosts())
    await swarm.publish("stays", hosts, *_STAYING, placement={"MaxReplicas": 1})
    await swarm.until_running("stays", hosts)


async def wave(swarm: Swarm, names: list[str]) -> None:
    """Each service on all networks, with a published port; made, run, removed, all at once."""
    port = {"Protocol": "tcp", "TargetPort": 8000}
    await asyncio.gather(*(swarm.publish(name, 1, *NETWORKS, ports=[port]) for name in names))

    async def run() -> bool:
        tasks = await swarm.get("m1", "/tasks")
        running = [t for t in tasks if t["Status"]["State"] == "running"]
        return len(running) == len(names) + len(swarm.lab.hosts())

    await swarm.until(run, f"the {len(names)} services of a wave")
    await asyncio.gather(*(swarm.delete("m1", f"/services/{name}") for name in names))

    async def gone() -> bool:
        return len(await swarm.get("m1", "/tasks")) == len(swarm.lab.hosts())

    await swarm.until(gone, "the wave's tasks to be gone")


async def churn(swarm: Swarm, services: int, size: int) -> None:
    names = [f"svc{number}" for number in range(services)]
    for start in range(0, services, size):
        await wave(swarm, names[start : start + size])


async def quiet(swarm: Swarm) -> Mapping[str, int]:
    """What there is once it stays the same for longer than hosts take to look after what departures leave behind."""
    last, since = await census(swarm.lab), time.monotonic()

    async def same() -> bool:
        nonlocal last, since
        if (found := await census(swarm.lab)) != last:
            last, since = found, time.monotonic()
        return time.monotonic() - since > 2.5 * SWEEP  # what is left over is gone within twice that

    await swarm.until(same, "a quiet swarm")
    return last


async def until_as(swarm: Swarm, before: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Empty once everything is as it was; what still differs when patience ends."""
    last: dict[str, tuple[int, int]] = {}

    async def equal() -> bool:
        nonlocal last
        last = differences(before, await census(swarm.lab))
        return not last

    try:
        await swarm.until(equal, "all to be as before")
    except Unavailable:
        return last
    return {}


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--services", type=int, default=200)
    parser.add_argument("--wave", type=int, default=20)
    parser.add_argument("--hosts", type=int, default=3)
    given = parser.parse_args()
    async with temporary_lab(f"churn-{os.getpid()}", 1, given.hosts - 1) as lab:
        archive = build_demo_image()
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
        swarm = Swarm(lab)
        await prepare(swarm)
        await churn(swarm, given.wave, given.wave)  # whatever is made once, at the first use
        before, memory = await quiet(swarm), resident(lab)
        start = time.monotonic()
        await churn(swarm, given.services, given.wave)
        took = time.monotonic() - start
        left = await until_as(swarm, before)
        print(f"{given.services} services on {len(NETWORKS)} networks came and went in {took:.1f} s")
        print(f"{len(before)} counts compared, {sum(before.values())} things")
        print(f"memory of the daemons in MiB: {memory} before, {resident(lab)} after")
        for kind, (was, now) in left.items():
            print(f"  {kind}: {was} before, {now} after")
        if left:
            for host in lab.hosts():
                print(f"--- {host.name}", *host.log_file.read_text().splitlines()[-15:], sep="\n")
        faults = [f"{h.name}: {line}" for h in lab.hosts() for line in _faults(h.log_file)]
        print(f"{len(faults)} warnings and errors in the logs", *faults[:10], sep="\n")
        return 1 if left else 0


def _faults(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines()
    return [
        line for line in lines if "WARN" in line.upper() or "ERROR" in line.upper() or "Traceback" in line
    ]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
