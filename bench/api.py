"""Writes through the Engine API of the leader of three managers: latency, writes per second, and failover.

    python -m bench.api [--clients 1 16 64 256] [--seconds 3]

Each write creates a config of 100 bytes and is on two disks when it is answered. The peer: dockerd 20.10's swarm on
such a machine, three managers: 2.4 ms p50 with one client, 375 to 420 writes a second with many.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import statistics
import time
from contextlib import AsyncExitStack

from pyswarmd.lab.host import LabHost
from pyswarmd.lab.lab import Lab, temporary_lab
from swarmcore.errors import Conflict, SwarmError

_DATA = base64.b64encode(bytes(100)).decode()
DOCKERD_PER_SECOND = 420
MANAGERS = ("m1", "m2", "m3")


async def load(host: LabHost, clients: int, seconds: float, name: str) -> list[float]:
    """Seconds that each write took, of `clients` clients that write for `seconds`, each one after the other."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def writer(number: int) -> None:
        async with host.client() as client:
            count = 0
            while (start := time.perf_counter()) < end:
                await client.post("/configs/create", {"Name": f"{name}-{number}-{count}", "Data": _DATA})
                took.append(time.perf_counter() - start)
                count += 1

    await asyncio.gather(*(writer(number) for number in range(clients)))
    return took


async def leader_of(lab: Lab, names: tuple[str, ...]) -> str:
    found = ""

    async def known() -> bool:
        nonlocal found
        async with lab.host(names[0]).client() as client:
            for node in await client.get("/nodes"):
                if (node.get("ManagerStatus") or {}).get("Leader") and node["Status"]["State"] == "ready":
                    found = str(node["Description"]["Hostname"])
        return found in names

    await lab.until(known, "a leader", 30)
    return found


async def failover(lab: Lab, number: int, *, frozen: bool = False) -> float:
    """Seconds from the death of the leader's host (or its freezing) to the first acknowledged write through another."""
    leader = await leader_of(lab, MANAGERS)
    others = [name for name in MANAGERS if name != leader]
    written = asyncio.Event()

    async def keep_writing(name: str, stack: AsyncExitStack) -> None:
        client = await stack.enter_async_context(lab.host(name).client())
        while not written.is_set():
            try:
                await client.post("/configs/create", {"Name": f"failover-{number}-{name}", "Data": _DATA})
            except Conflict:
                pass  # an earlier try had an unknown outcome and was written after all
            except SwarmError:
                continue
            written.set()

    async with AsyncExitStack() as stack:
        if frozen:
            lab.pause([leader])
        else:
            await lab.kill([leader])
        start = time.perf_counter()
        tries = [asyncio.ensure_future(keep_writing(name, stack)) for name in others]  # noqa: TID251
        await written.wait()
        took = time.perf_counter() - start
        await asyncio.gather(*tries)
    if frozen:
        lab.resume([leader])
    else:
        await lab.restart([leader])
    return took


async def run(clients: list[int], seconds: float, rounds: int) -> None:
    async with temporary_lab(f"psb-{os.getpid()}", 3, 0) as lab:
        leader = await leader_of(lab, MANAGERS)
        await load(lab.host(leader), 4, 1.0, "warm")
        print(f"{'clients':>7} {'p50 ms':>7} {'p99 ms':>7} {'writes/s':>9} {'of dockerd':>10}")
        for count in clients:
            took = sorted(await load(lab.host(leader), count, seconds, f"c{count}"))
            rate = len(took) / seconds
            print(
                f"{count:>7} {1e3 * statistics.median(took):>7.1f} {1e3 * took[int(len(took) * 0.99)]:>7.1f} "
                f"{rate:>9.0f} {rate / DOCKERD_PER_SECOND:>9.1f}x",
                flush=True,
            )
        for fault, frozen in (("power loss", False), ("freezing", True)):
            times = [await failover(lab, number + rounds * frozen, frozen=frozen) for number in range(rounds)]
            print(
                f"failover, {fault} to first write: median {statistics.median(times):.2f} s, max {max(times):.2f} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(run(options.clients, options.seconds, options.rounds))


if __name__ == "__main__":
    main()
