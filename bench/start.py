"""Time from `service create --replicas R` to all R running, on one and three hosts, and container starts per second.

    python -m bench.start [--replicas 1 10 50 100] [--rounds 3]

The peer: dockerd 20.10's swarm on such a machine, three hosts: 0.44 s for one replica, 1.5 s for ten, 6.4 s for
fifty, 13.5 s for a hundred; at most 4.5 container starts a second.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from typing import Any

from pyswarmd.cli.render import parse_time
from pyswarmd.client import EngineClient, filters
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import DEMO_REFERENCE, build_demo_image
from pyswarmd.lab.lab import Lab, temporary_lab

DOCKERD = {1: 0.44, 10: 1.5, 50: 6.4, 100: 13.5}  # seconds, three hosts
_POLL = 0.02


async def _wait(client: EngineClient, service: str, replicas: int) -> list[dict[str, Any]]:
    while True:
        status = (await client.get("/services", status="true", filters=filters(id=[service])))[0][
            "ServiceStatus"
        ]
        if status["RunningTasks"] >= replicas:
            return list(await client.get("/tasks", filters=filters(service=[service])))
        await asyncio.sleep(_POLL)


async def _gone(client: EngineClient) -> None:
    while await client.get("/tasks"):
        await asyncio.sleep(_POLL)


async def measure(lab: Lab, replicas: int, number: int) -> tuple[float, float]:
    """Seconds from the request to the last RUNNING, as seen by a client and by the tasks' own timestamps."""
    async with lab.host("m1").client() as client:
        spec = {
            "Name": f"bench{number}",
            "TaskTemplate": {"ContainerSpec": {"Image": DEMO_REFERENCE, "StopGracePeriod": 0}},
            "Mode": {"Replicated": {"Replicas": replicas}},
        }
        wall, start = time.time(), time.perf_counter()
        service = (await client.post("/services/create", spec))["ID"]
        tasks = await _wait(client, service, replicas)
        seen = time.perf_counter() - start
        last = max(parse_time(t["Status"]["Timestamp"]).timestamp() for t in tasks)
        await client.delete(f"/services/{service}")
        await _gone(client)
    return seen, last - wall


async def run(replicas: list[int], rounds: int) -> None:
    print(
        f"{'hosts':>5} {'replicas':>8} {'median s':>9} {'min s':>7} {'starts/s':>9} {'dockerd s':>10} {'ratio':>6}"
    )
    for hosts in (1, 3):
        async with temporary_lab(f"psb-{os.getpid()}", hosts, 0) as lab:
            archive = build_demo_image()
            await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
            await measure(lab, 1, 0)  # warm
            number = 0
            for count in replicas:
                times = []
                for _ in range(rounds):
                    number += 1
                    times.append((await measure(lab, count, number))[0])
                median = statistics.median(times)
                peer = DOCKERD.get(count) if hosts == 3 else None
                ratio = f"{median / peer:6.2f}" if peer else f"{'-':>6}"
                print(
                    f"{hosts:>5} {count:>8} {median:>9.2f} {min(times):>7.2f} {count / median:>9.1f} "
                    f"{peer or '-':>10} {ratio}",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(run(options.replicas, options.rounds))


if __name__ == "__main__":
    main()
