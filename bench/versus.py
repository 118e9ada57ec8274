"""The Engine API of pyswarm beside dockerd's, in the same run on the same machine: what users' requests cost.

    python -m bench.versus [--dockerd /usr/sbin/dockerd] [--managers 1 3] [--tasks 10000] [--rounds 1]

Without a dockerd (Debian: docker.io) it prints pyswarm's figures alone. Services have no replicas, so that the store
and the API are measured and not the containers; pending tasks ask for a label that no node has.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.dockerd_lab import dockerd_lab, listening
from bench.rawhttp import RawClient
from pyswarmd.lab.lab import temporary_lab

Figures = dict[str, float]
_CLIENTS, _SECONDS, _NETWORKS = 16, 3.0, 100


def _service(name: str, replicas: int = 0) -> dict[str, Any]:
    return {
        "Name": name,
        "TaskTemplate": {
            "ContainerSpec": {"Image": "app:1", "Env": ["A=1", "B=2"], "Labels": {"tier": "web"}},
            "Resources": {"Limits": {"MemoryBytes": 64 << 20}, "Reservations": {}},
            "RestartPolicy": {"Condition": "any", "MaxAttempts": 0},
            "Placement": {"Constraints": ["node.labels.nowhere==1"]},
            "ForceUpdate": 0,
        },
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Order": "stop-first"},
        "EndpointSpec": {"Mode": "vip"},
    }


async def _creates(socket: Path, clients: int) -> tuple[float, float]:
    """(services created a second, median seconds of one create) of `clients` clients."""
    took: list[float] = []
    end = time.perf_counter() + _SECONDS

    async def one(number: int) -> None:
        async with RawClient(socket) as client:
            count = 0
            while (start := time.perf_counter()) < end:
                await client.raw("POST", "/services/create", _service(f"s{clients}-{number}-{count}"))
                took.append(time.perf_counter() - start)
                count += 1

    await asyncio.gather(*(one(number) for number in range(clients)))
    return len(took) / _SECONDS, statistics.median(took)


async def _networks(socket: Path) -> float:
    """Seconds to create one overlay network, of many made one after the other."""
    async with RawClient(socket) as client:
        start = time.perf_counter()
        for number in range(_NETWORKS):
            await client.raw(
                "POST",
                "/networks/create",
                {"Name": f"n{number}", "Driver": "overlay", "CheckDuplicate": True},
            )
        return (time.perf_counter() - start) / _NETWORKS


async def _pending(socket: Path, tasks: int) -> tuple[float, float]:
    """(seconds until all tasks of a new service wait for a node, seconds of one list of them)."""
    async with RawClient(socket) as client:
        start = time.perf_counter()
        await client.raw("POST", "/services/create", _service("many", tasks))
        while True:
            services = await client.call(
                "GET", "/services?status=true&filters=%7B%22name%22%3A%5B%22many%22%5D%7D"
            )
            if services[0]["ServiceStatus"]["DesiredTasks"] >= tasks:
                found = await client.call("GET", "/tasks?filters=%7B%22service%22%3A%5B%22many%22%5D%7D")
                if sum(task["Status"]["State"] == "pending" for task in found) >= tasks:
                    break
            await asyncio.sleep(0.1)
        took = time.perf_counter() - start
        lists = []
        for _ in range(3):
            start = time.perf_counter()
            await client.raw("GET", "/tasks")
            lists.append(time.perf_counter() - start)
        await client.raw("DELETE", f"/services/{services[0]['ID']}")
    return took, statistics.median(lists)


async def _init(socket: Path, address: str) -> float:
    async with RawClient(socket) as client:
        start = time.perf_counter()
        await client.raw("POST", "/swarm/init", listening(address))
        return time.perf_counter() - start


async def _measure(socket: Path, address: str, managers: int, tasks: int) -> Figures:
    figures: Figures = {}
    if managers == 1:
        figures["init, s"] = await _init(socket, address)
    await _creates(socket, 2)  # warm
    figures[f"creates/s, {_CLIENTS} clients"], _ = await _creates(socket, _CLIENTS)
    _, figures["one client's create, p50 ms"] = await _creates(socket, 1)
    figures["one client's create, p50 ms"] *= 1e3
    figures["network create, ms"] = 1e3 * await _networks(socket)
    if managers == 1 and tasks:
        figures[f"{tasks} pending tasks, s"], figures["GET /tasks of them, s"] = await _pending(socket, tasks)
    return figures


@asynccontextmanager
async def _pyswarm(managers: int) -> AsyncIterator[tuple[Path, str]]:
    async with temporary_lab(f"psv-{os.getpid()}", 0 if managers == 1 else managers, 0) as lab:
        if managers == 1:
            await lab.add_hosts(["m1"])
        yield lab.host("m1").socket, lab.host("m1").address


@asynccontextmanager
async def _dockerd(managers: int, program: Path) -> AsyncIterator[tuple[Path, str]]:
    async with dockerd_lab(f"psd-{os.getpid()}", managers, program) as hosts:
        yield hosts[0].socket, hosts[0].address


async def _rounds(place: Callable[[], Any], managers: int, tasks: int, rounds: int) -> Figures:
    found: list[Figures] = []
    for _ in range(rounds):
        async with place() as (socket, address):
            found.append(await _measure(socket, address, managers, tasks))
    return {name: statistics.median(one[name] for one in found) for name in found[0]}


async def run(managers: list[int], tasks: int, rounds: int, program: Path | None) -> None:
    for count in managers:
        ours = await _rounds(partial(_pyswarm, count), count, tasks, rounds)
        theirs: Figures = {}
        if program is not None:
            theirs = await _rounds(partial(_dockerd, count, program), count, tasks, rounds)
        print(
            f"\n| {count} manager{'s' if count > 1 else ''} | pyswarm | dockerd | ratio |\n|---|---|---|---|"
        )
        for name, value in ours.items():
            peer = theirs.get(name)
            shown = f"{peer:.3g} | {value / peer:.2f}" if peer else "- | -"
            print(f"| {name} | {value:.3g} | {shown} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dockerd", type=Path, default=shutil.which("dockerd"))
    parser.add_argument("--managers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    asyncio.run(run(options.managers, options.tasks, options.rounds, options.dockerd))


if __name__ == "__main__":
    main()
