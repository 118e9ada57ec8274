"""How long a service is short of replicas: a dead worker, a cut one, a frozen one, a dead leader, a dead container.

    python -m bench.recovery [--rounds 3]

Five hosts, ten replicas, default settings (heartbeat 1 s) but for the restart delay of the killed container, which is
Docker's 5 s. Seconds from the fault to the moment when a client sees ten running replicas on live hosts. The goal for a
dead worker is 5 s; dockerd's default heartbeat of 5 s makes it wait 15 s or more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.api import MANAGERS, leader_of
from pyswarmd.client import filters
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import DEMO_REFERENCE, build_demo_image
from pyswarmd.lab.lab import Lab, temporary_lab

REPLICAS = 10
HOSTS = ("m1", "m2", "m3", "w1", "w2")


async def tasks(lab: Lab, host: str) -> list[dict[str, Any]]:
    async with lab.host(host).client() as client:
        wanted = filters(service=["web"], desired_state=["running"])
        return [t for t in await client.get("/tasks", filters=wanted) if t["Status"]["State"] == "running"]


async def until_full(lab: Lab, asked: str, without: str) -> None:
    """`without` is a node id that does not count."""

    async def full() -> bool:
        return sum(1 for task in await tasks(lab, asked) if task["NodeID"] != without) == REPLICAS

    await lab.until(full, "all replicas", 60)


async def node_id(lab: Lab, host: str) -> str:
    async with lab.host(host).client() as client:
        return str((await client.get("/info"))["Swarm"]["NodeID"])


async def measure(lab: Lab, host: str, fault: Callable[[], Awaitable[None]]) -> float:
    dead = await node_id(lab, host)
    asked = next(name for name in MANAGERS if name != host)
    start = time.perf_counter()
    await fault()
    await until_full(lab, asked, dead)
    return time.perf_counter() - start


async def mend(lab: Lab) -> None:
    lab.resume(HOSTS)
    await lab.heal()
    down = [name for name in HOSTS if lab.host(name).daemon_pid() is None]
    if down:
        await lab.restart(down)

    async def ready() -> bool:
        async with lab.host("m1").client() as client:
            nodes = await client.get("/nodes")
        return all(node["Status"]["State"] == "ready" for node in nodes)

    await lab.until(ready, "all nodes ready", 60)
    async with lab.host("m1").client() as client:  # spread the replicas evenly again
        service = await client.get("/services/web")
        template = service["Spec"]["TaskTemplate"]
        template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
        version = service["Version"]["Index"]
        await client.post("/services/web/update", service["Spec"], version=version)

        async def even() -> bool:
            new = template["ForceUpdate"]
            nodes = [t["NodeID"] for t in await tasks(lab, "m1") if t["Spec"].get("ForceUpdate") == new]
            return len(nodes) == REPLICAS and len(set(nodes)) == len(HOSTS)

    await lab.until(even, "replicas on all hosts", 60)


async def kill_container(lab: Lab) -> float:
    victim = (await tasks(lab, "m1"))[0]
    start = time.perf_counter()
    os.kill(victim["Status"]["ContainerStatus"]["PID"], signal.SIGKILL)

    async def replaced() -> bool:
        now = await tasks(lab, "m1")
        return len(now) == REPLICAS and all(task["ID"] != victim["ID"] for task in now)

    await lab.until(replaced, "the container replaced", 60)
    return time.perf_counter() - start


async def run(rounds: int) -> None:
    async with temporary_lab(f"psb-{os.getpid()}") as lab:
        archive = build_demo_image()
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
        async with lab.host("m1").client() as client:
            template = {"ContainerSpec": {"Image": DEMO_REFERENCE, "StopGracePeriod": 0}}
            mode = {"Replicated": {"Replicas": REPLICAS}}
            update = {"Parallelism": 0}
            await client.post(
                "/services/create",
                {"Name": "web", "TaskTemplate": template, "Mode": mode, "UpdateConfig": update},
            )
        await until_full(lab, "m1", "")

        async def pause() -> None:
            lab.pause(["w1"])

        faults: dict[str, Callable[[], Awaitable[float]]] = {
            "worker's host dies": lambda: measure(lab, "w1", lambda: lab.kill(["w1"])),
            "worker is cut off": lambda: measure(lab, "w1", lambda: lab.partition(["w1"])),
            "worker freezes": lambda: measure(lab, "w1", pause),
            "leader's host dies": lambda: _leader(lab),
            "container is killed": lambda: kill_container(lab),
        }
        print(f"{'fault':<22} {'median s':>8} {'max s':>6}")
        for name, fault in faults.items():
            times = []
            for _ in range(rounds):
                times.append(await fault())
                await mend(lab)
            print(f"{name:<22} {statistics.median(times):>8.2f} {max(times):>6.2f}", flush=True)


async def _leader(lab: Lab) -> float:
    leader = await leader_of(lab, MANAGERS)
    return await measure(lab, leader, lambda: lab.kill([leader]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    asyncio.run(run(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
