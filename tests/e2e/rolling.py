"""Scaling and rolling restarts under traffic, of which no request may fail.

    python -m tests.e2e.rolling [--requests 10000]

Makes a lab of five hosts, sends requests to all nodes' published port and to a virtual address from inside a container
(new connections and kept ones), goes round until there were as many, prints the figures, and ends with 1 if any failed.
With KEEP_LOGS=<folder> in the environment the daemons' logs are kept then.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import DEMO_PORT, build_demo_image
from pyswarmd.lab.lab import temporary_lab
from tests.e2e.places import at
from tests.e2e.swarm import Outcome, Swarm

NODES = {"m1": 11, "m2": 12, "m3": 13, "w1": 101, "w2": 102}
PUBLISHED = 8080
_ECHO_PORT = 7
_REPLICAS, _MORE = 4, 8
# The server is the process itself: a shell that starts it takes longer until it listens (see connecting.py).
# As process 1 it gets no SIGTERM, and SIGKILL is the harder test: whoever is still connected is cut off.
_AT_ONCE: dict[str, Any] = {"StopSignal": "SIGKILL"}
_SERVER = ["httpd", "-f", "-p", str(DEMO_PORT), "-h", "/www"]
_ECHO = ["nc", "-ll", "-p", str(_ECHO_PORT), "-e", "cat"]


# A node that is given up loses its peers and with them its live connections, as it shall. Here the daemon is back
# before: it takes seconds to start while traffic has the processors, and the default gives up after 2.5.
_HEARTBEAT = 5 * 10**9


async def serve(swarm: Swarm) -> None:
    """A published service and an echo on a network, and a container to ask from."""
    found = await swarm.get("m1", "/swarm")
    spec = found["Spec"] | {"Dispatcher": {"HeartbeatPeriod": _HEARTBEAT}}
    await swarm.post("m1", "/swarm/update", spec, version=found["Version"]["Index"])
    await swarm.network("shop")
    port = {"Protocol": "tcp", "TargetPort": DEMO_PORT, "PublishedPort": PUBLISHED}
    await swarm.publish("web", _REPLICAS, "shop", ports=[port], Command=_SERVER, **_AT_ONCE)
    await swarm.publish("echo", _REPLICAS, "shop", Command=_ECHO, **_AT_ONCE)
    await swarm.publish("client", 1, "shop", placement={"Constraints": ["node.hostname==m2"]})
    for name, count in (("web", _REPLICAS), ("echo", _REPLICAS), ("client", 1)):
        await swarm.until_running(name, count)


async def _virtual_address(swarm: Swarm, name: str) -> str:
    """On the network `shop`, not on the mesh."""
    network = (await swarm.get("m1", "/networks/shop"))["Id"]
    service = await swarm.get("m1", f"/services/{name}")
    found = [v["Addr"] for v in service["Endpoint"]["VirtualIPs"] if v["NetworkID"] == network]
    return str(found[0]).partition("/")[0]


async def under_traffic(swarm: Swarm, story: Callable[[], Awaitable[None]]) -> dict[str, Outcome]:
    """What came of the requests, by kind, while `story` was told."""
    (client,) = await swarm.running("client")
    inside = swarm.namespace_of(client)
    web, echo = await _virtual_address(swarm, "web"), await _virtual_address(swarm, "echo")
    outside = await swarm.outside()
    mesh = [f"http://{at(number)}:{PUBLISHED}/" for number in NODES.values()]
    kinds: dict[str, tuple[Any, list[str], str]] = {
        "mesh": (outside, mesh, "traffic"),
        "virtual address": (inside, [f"http://{web}:{DEMO_PORT}/"], "traffic"),
        "kept connections": (inside, [f"tcp://{echo}:{_ECHO_PORT}"], "keepalive"),
    }
    for namespace, urls, _ in kinds.values():
        if urls[0].startswith("http"):
            await _until_served(swarm, namespace, urls)
    async with AsyncExitStack() as stack:
        ends = {
            kind: await stack.enter_async_context(
                swarm.continuous(namespace, *urls, "--patient", parallel=3, program=program)
            )
            for kind, (namespace, urls, program) in kinds.items()
        }
        await story()
        return {kind: await end() for kind, end in ends.items()}


async def _until_served(swarm: Swarm, namespace: Any, urls: list[str]) -> None:
    async def served() -> bool:
        for url in urls:
            seen = await swarm.requests(namespace, url, count=8 * _REPLICAS)
            if seen.errors or len(seen.answers) < _REPLICAS:
                return False
        return True

    await swarm.until(served, "all replicas behind every address")


async def restart(swarm: Swarm, name: str, order: str) -> None:
    """Replace every task, one after the other; the end is when the last of the old ones has stopped."""
    service = await swarm.get("m1", f"/services/{name}")
    spec = service["Spec"]
    spec["TaskTemplate"]["ForceUpdate"] = spec["TaskTemplate"].get("ForceUpdate", 0) + 1
    spec["UpdateConfig"]["Order"] = order
    old = {task["ID"] for task in await swarm.running(name)}
    await swarm.post("m1", f"/services/{service['ID']}/update", spec, version=service["Version"]["Index"])

    async def replaced() -> bool:
        status = (await swarm.get("m1", f"/services/{name}")).get("UpdateStatus") or {}
        tasks = await swarm.tasks(name)
        live = {task["ID"] for task in tasks if task["Status"]["State"] == "running"}
        return status.get("State") == "completed" and not live & old and len(live) == len(old)

    await swarm.until(replaced, f"{name} to be restarted {order}")


async def resize(swarm: Swarm, name: str, replicas: int) -> None:
    await swarm.scale(name, replicas)

    async def there() -> bool:
        tasks = await swarm.tasks(name)
        return sum(1 for task in tasks if task["Status"]["State"] == "running") == replicas

    await swarm.until(there, f"{replicas} replicas of {name}")


async def round_trip(swarm: Swarm) -> None:
    """Up, down, both rolling restarts, and a daemon that is killed and started again."""
    for name in ("web", "echo"):
        await resize(swarm, name, _MORE)
        await resize(swarm, name, _REPLICAS)
        for order in ("start-first", "stop-first"):
            await restart(swarm, name, order)
    await swarm.lab.kill(["w1"], daemon_only=True)
    await swarm.lab.restart(["w1"])
    await swarm.until_ready(["w1"], "m1")


async def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10_000)
    wanted: int = parser.parse_args().requests
    async with temporary_lab(f"rolling-{os.getpid()}", 3, 2) as lab:
        archive = build_demo_image()
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
        swarm = Swarm(lab)
        await serve(swarm)
        start, rounds, total, failed = time.monotonic(), 0, 0, 0
        while total < wanted:
            rounds += 1
            seen = await under_traffic(swarm, lambda: round_trip(swarm))
            total += seen["mesh"].total
            for kind, outcome in seen.items():
                print(f"round {rounds}, {kind}: {outcome.total} good, failed: {outcome.errors}", flush=True)
                failed += sum(outcome.errors.values())
        took = time.monotonic() - start
        print(f"{total} requests through the mesh in {rounds} rounds, {took:.0f} s; {failed} of all failed")
        if failed and (keep := os.environ.get("KEEP_LOGS")):
            for host in lab.hosts():
                shutil.copy(host.log_file, f"{keep}/{host.name}.log")
        return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
