"""What the overlay, virtual addresses, the mesh and names cost, each against the plain thing in the same run.

    python -m bench.network [--rounds 5] [--seconds 2]

Two hosts of a lab, a client outside, and the demo image's containers, whose namespaces the measuring programs enter.
Then bench.attach: what containers, networks and endpoints that come and go cost on one host.
"Plain VXLAN" is a hand-made tunnel between the same hosts: what the kernel gives without us.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pyswarmd.client import filters
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.demo_image import DEMO_REFERENCE, build_demo_image
from pyswarmd.lab.lab import Lab, temporary_lab
from pyswarmd.lab.network import ip
from pyswarmd.lab.wires import DEFAULT
from swarmcore.addresses import bare

PORT, PUBLISHED = 8000, 8080
_ROOT = Path(__file__).resolve().parents[1]
_REFLECTS, _LOOP = "127.0.0.77", "a loop that sends packets back"
_PLAIN_VNI, _PLAIN_PORT = 99, 4790


class Place:
    """Somewhere to run one end of a measurement: a network namespace by its path."""

    def __init__(self, namespace: Path | str) -> None:
        self._enter = ("nsenter", f"--net={namespace}", "--", sys.executable, "-m", "bench.wire")

    @asynccontextmanager
    async def serving(self, mode: str = "serve", where: object = PORT) -> AsyncIterator[None]:
        process = await asyncio.create_subprocess_exec(
            *self._enter, mode, str(where), stdout=asyncio.subprocess.PIPE, cwd=_ROOT
        )
        assert process.stdout is not None
        await process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
            await process.wait()

    async def measure(self, *words: object) -> Any:
        process = await asyncio.create_subprocess_exec(
            *self._enter, *(str(word) for word in words), stdout=asyncio.subprocess.PIPE, cwd=_ROOT
        )
        out, _ = await process.communicate()
        return json.loads(out)


async def _service(lab: Lab, name: str, host: str, network: str, ports: Sequence[dict[str, Any]] = ()) -> Any:
    spec = {
        "Name": name,
        "TaskTemplate": {
            # The demo's own server would hold the port that the measuring one listens on.
            "ContainerSpec": {"Image": DEMO_REFERENCE, "Command": ["sleep", "100000"], "StopGracePeriod": 0},
            "Networks": [{"Target": network}],
            "Placement": {"Constraints": [f"node.hostname=={host}"]},
        },
        "EndpointSpec": {"Ports": list(ports)},
    }
    async with lab.host("m1").client() as client:
        service = (await client.post("/services/create", spec))["ID"]
        while True:
            tasks = await client.get("/tasks", filters=filters(service=[service]))
            if tasks and tasks[0]["Status"]["State"] == "running":
                return tasks[0]
            await asyncio.sleep(0.05)


def _place(task: dict[str, Any]) -> Place:
    return Place(f"/proc/{_pid(task)}/ns/net")


def _pid(task: dict[str, Any]) -> int:
    return int(task["Status"]["ContainerStatus"]["PID"])


def _address(task: dict[str, Any], network: str) -> str:
    for attachment in task["NetworksAttachments"]:
        if attachment["Network"]["Spec"]["Name"] == network:
            return bare(str(attachment["Addresses"][0]))
    raise LookupError(f"the task is not on {network}")


async def _plain_vxlan(lab: Lab) -> tuple[str, str]:
    """A tunnel between m1 and w1 made by hand; its two addresses."""
    ends = {
        "m1": (DEFAULT.address(11), DEFAULT.address(101)),
        "w1": (DEFAULT.address(101), DEFAULT.address(11)),
    }
    for place, (host, (local, remote)) in enumerate(ends.items(), 1):
        namespace = lab.network.namespace(host)
        words = (
            f"link add plain type vxlan id {_PLAIN_VNI} local {local} remote {remote} dstport {_PLAIN_PORT}"
        )
        await ip("-n", namespace, *words.split())
        await ip("-n", namespace, "address", "add", f"192.168.99.{place}/24", "dev", "plain")
        await ip("-n", namespace, "link", "set", "plain", "up")
    return "192.168.99.1", "192.168.99.2"


async def _plain_bridged(lab: Lab, pids: Sequence[int]) -> str:
    """The same through a bridge and a wire into the containers: the least that carries more than one of them."""
    for place, (host, pid) in enumerate(zip(("m1", "w1"), pids, strict=True), 1):
        local, remote = (DEFAULT.address(11), DEFAULT.address(101))[:: 1 if place == 1 else -1]
        inside = ("nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip")
        commands = (
            "link add plbr type bridge",
            f"link add plvx type vxlan id {_PLAIN_VNI + 1} local {local} remote {remote} dstport {_PLAIN_PORT}",
            f"link add plw type veth peer name plain netns {pid}",
            "link set plw mtu 1450 master plbr up",
            "link set plvx master plbr up",
            "link set plbr up",
        )
        for words in commands:
            await ip("-n", lab.network.namespace(host), *words.split())
        for words in (f"address add 192.168.98.{place}/24 dev plain", "link set plain mtu 1450 up"):
            process = await asyncio.create_subprocess_exec(*inside, *words.split())
            if await process.wait():
                raise RuntimeError(f"ip {words} failed")
    return "192.168.98.2"


class Bench:
    def __init__(self, lab: Lab, rounds: int, seconds: float) -> None:
        self._lab, self._rounds, self._seconds = lab, rounds, seconds

    async def _compare(
        self, paths: dict[str, tuple[Place, str, int]], mode: str, amount: float
    ) -> dict[str, float]:
        """Medians; the paths take turns, so that whatever else the machine does hits all of them."""
        found: dict[str, list[float]] = {name: [] for name in paths}
        for _ in range(self._rounds):
            for name, (place, host, port) in paths.items():
                found[name].append(await place.measure(mode, host, port, amount))
        return {name: statistics.median(values) for name, values in found.items()}

    async def run(self) -> None:
        lab = self._lab
        async with lab.host("m1").client() as client:
            await client.post("/networks/create", {"Name": "bench", "Driver": "overlay"})
        ports = [{"Protocol": "tcp", "TargetPort": PORT, "PublishedPort": PUBLISHED}]
        far = await _service(lab, "far", "w1", "bench", ports)
        near = await _service(lab, "near", "m1", "bench")
        caller = await _service(lab, "caller", "m1", "bench")
        async with lab.host("m1").client() as client:
            service = await client.get("/services/far")
        network_ids = {a["Network"]["Spec"]["Name"]: a["Network"]["ID"] for a in far["NetworksAttachments"]}
        vip = next(
            bare(str(entry["Addr"]))
            for entry in service["Endpoint"]["VirtualIPs"]
            if entry["NetworkID"] == network_ids["bench"]
        )
        await lab.network.ensure_host("c1", DEFAULT.address(201))
        _, plain_far = await _plain_vxlan(lab)
        bridged_far = await _plain_bridged(lab, [_pid(caller), _pid(far)])
        m1, w1 = (Place(lab.network.path(name)) for name in ("m1", "w1"))
        outside = Place(lab.network.path("c1"))
        host_far = DEFAULT.address(101)
        async with w1.serving(), _place(far).serving(), _place(near).serving():
            inside = _place(caller)
            await self._throughput(
                {
                    "host to host": (m1, host_far, PORT),
                    "plain VXLAN": (m1, plain_far, PORT),
                    "plain VXLAN, bridge and wires": (inside, bridged_far, PORT),
                    "overlay": (inside, _address(far, "bench"), PORT),
                    "overlay, same host": (inside, _address(near, "bench"), PORT),
                }
            )
            await self._latency(
                "virtual IP",
                {"direct": (inside, _address(far, "bench"), PORT), "virtual IP": (inside, vip, PORT)},
            )
            await self._latency(
                "mesh",
                {
                    "client to host": (outside, host_far, PORT),
                    "mesh, replica's own node": (outside, host_far, PUBLISHED),
                    "mesh, another node": (outside, DEFAULT.address(11), PUBLISHED),
                },
            )
            await self._names(inside)

    async def _throughput(self, paths: dict[str, tuple[Place, str, int]]) -> None:
        found = await self._compare(paths, "bulk", self._seconds)
        base, tunnel = found["host to host"], found["plain VXLAN"]
        print("\n| throughput | Gbit/s | of host to host | of plain VXLAN |\n|---|---|---|---|")
        for name, value in found.items():
            print(f"| {name} | {value:.1f} | {value / base:.2f} | {value / tunnel:.2f} |", flush=True)

    async def _latency(self, title: str, paths: dict[str, tuple[Place, str, int]]) -> None:
        connect = await self._compare(paths, "connect", 1000)
        echo = await self._compare(paths, "echo", 3000)
        first = next(iter(paths))
        print(f"\n| {title} | connect, us | ratio | echo, us | ratio |\n|---|---|---|---|---|")
        for name in paths:
            print(
                f"| {name} | {connect[name]:.0f} | {connect[name] / connect[first]:.2f} "
                f"| {echo[name]:.0f} | {echo[name] / echo[first]:.2f} |",
                flush=True,
            )

    async def _names(self, inside: Place) -> None:
        servers = {"name server": "127.0.0.11", _LOOP: _REFLECTS}
        found: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        async with inside.serving("reflect", _REFLECTS):
            for _ in range(self._rounds):
                for name, server in servers.items():
                    found[name].append(await inside.measure("names", server, "far", 20_000))
        rates = {name: statistics.median(entry["rate"] for entry in each) for name, each in found.items()}
        print("\n| names | questions a second | ratio | p99, us |\n|---|---|---|---|")
        for name, each in found.items():
            p99 = statistics.median(entry["p99"] for entry in each)
            print(
                f"| {name} | {rates[name]:.0f} | {rates[name] / rates[_LOOP]:.2f} | {p99:.0f} |", flush=True
            )


async def run(rounds: int, seconds: float) -> None:
    async with temporary_lab(f"bench-net-{os.getpid()}", 1, 1) as lab:
        archive = build_demo_image()
        await asyncio.gather(*(load_image(host, archive) for host in lab.hosts()))
        await Bench(lab, rounds, seconds).run()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each throughput measurement")
    given = parser.parse_args()
    asyncio.run(run(given.rounds, given.seconds))
    subprocess.run(
        [sys.executable, "-m", "bench.attach", "--rounds", str(given.rounds)], cwd=_ROOT, check=True
    )


if __name__ == "__main__":
    main()
