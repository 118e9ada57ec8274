"""What the lab tests say and ask: services, tasks, nodes, through any host's Engine API."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from pyswarmd.client import filters
from pyswarmd.lab.demo_image import DEMO_REFERENCE
from pyswarmd.lab.host import LabHost
from pyswarmd.lab.lab import Lab
from swarmcore.errors import SwarmError, Unavailable
from swarmcore.process.children import communicate

PATIENCE = 60.0  # generous: tests wait for conditions and never assert times

CLIENT = "c1"
ROOT = Path(__file__).resolve().parents[2]


def client_of(answer: str) -> str:
    """The address that the demo's server saw its client at, in an answer of /cgi-bin/client."""
    return answer.split()[1].strip("[]").removeprefix("::ffff:")


class Outcome(Struct):
    """What requests brought: bodies and errors, counted."""

    answers: dict[str, int]
    errors: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.answers.values())


async def _traffic(
    namespace: Path | str, words: Sequence[str], program: str = "traffic"
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("nsenter", f"--net={namespace}", "--", sys.executable, "-m", f"tests.e2e.{program}", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )


class Swarm:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def host(self, name: str) -> LabHost:
        return self.lab.host(name)

    async def get(self, host: str, path: str, **query: str) -> Any:
        async with self.host(host).client() as client:
            return await client.get(path, **query)

    async def post(self, host: str, path: str, body: Any = None, **query: str | int) -> Any:
        async with self.host(host).client() as client:
            return await client.post(path, body, **query)

    async def delete(self, host: str, path: str, **query: str) -> Any:
        async with self.host(host).client() as client:
            return await client.delete(path, **query)

    async def until(self, check: Any, what: str) -> None:
        await self.lab.until(check, what, PATIENCE)

    async def cli(self, host: str, *words: str) -> tuple[int, str, str]:
        """Run the `pyswarm` command on a host: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pyswarmd", "-H", self.host(host).endpoint, *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.host(host).environment(),
        )
        out, err = await communicate(process)
        return process.returncode or 0, out.decode(), err.decode()

    # -- traffic -----------------------------------------------------------------------------------
    async def outside(self) -> Path:
        """The namespace of a client that is no host of the swarm, at number 201 of the subnet."""
        await self.lab.network.ensure_host(CLIENT, self.lab.network.address(201))
        return self.lab.network.path(CLIENT)

    async def requests(
        self, namespace: Path | str, *urls: str, count: int = 20, parallel: int = 1
    ) -> Outcome:
        """`count` requests, each a connection of its own, from inside `namespace`."""
        words = [*urls, "--count", str(count), "--parallel", str(parallel)]
        process = await _traffic(namespace, words)
        out, _ = await communicate(process)
        return msgspec.json.decode(out, type=Outcome)

    @asynccontextmanager
    async def continuous(
        self, namespace: Path | str, *urls: str, parallel: int = 2, program: str = "traffic"
    ) -> AsyncIterator[Callable[[], Awaitable[Outcome]]]:
        """Requests (or what `program` of this folder does with `urls`) without a pause during the block; the callable
        ends them and tells what came of them."""
        words = [*urls, "--until-eof", "--parallel", str(parallel)]
        process = await _traffic(namespace, words, program)

        async def end() -> Outcome:
            assert process.stdin is not None
            process.stdin.close()
            out, _ = await communicate(process)
            return msgspec.json.decode(out, type=Outcome)

        try:
            yield end
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def inside(self, task: dict[str, Any], *words: str) -> tuple[int, str]:
        """Run a command of the image in the task's container: exit code and all it wrote."""
        pid = str(task["Status"]["ContainerStatus"]["PID"])
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "-t", pid, "-n", "-m", "-u", "--", *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"PATH": "/usr/local/bin:/bin"},
        )
        out, _ = await communicate(process)
        return process.returncode or 0, out.decode(errors="replace")

    @staticmethod
    def namespace_of(task: dict[str, Any]) -> str:
        return f"/proc/{task['Status']['ContainerStatus']['PID']}/ns/net"

    # -- networks ----------------------------------------------------------------------------------
    async def network(self, name: str, *, host: str = "m1", **spec: Any) -> str:
        body = {"Name": name, "Driver": "overlay", "CheckDuplicate": True, **spec}
        return str((await self.post(host, "/networks/create", body))["Id"])

    async def publish(self, name: str, replicas: int, *networks: str, **more: Any) -> str:
        """A service on networks; `ports`, `mode`, `labels`, `placement`, `update` and container fields."""
        ports, mode = more.pop("ports", ()), more.pop("mode", "vip")
        labels, placement, update = more.pop("labels", {}), more.pop("placement", {}), more.pop("update", {})
        aliases = more.pop("aliases", ())
        spec = {
            "Name": name,
            "Labels": labels,
            "TaskTemplate": {
                "ContainerSpec": {"Image": DEMO_REFERENCE, "StopGracePeriod": 10**9, **more},
                "RestartPolicy": {"Condition": "any", "Delay": 0},
                "Networks": [{"Target": network, "Aliases": list(aliases)} for network in networks],
                "Placement": placement,
            },
            "Mode": {"Replicated": {"Replicas": replicas}},
            "UpdateConfig": {"Parallelism": 1, "Monitor": 10**8, **update},
            "EndpointSpec": {"Mode": mode, "Ports": list(ports)},
        }
        return str((await self.post("m1", "/services/create", spec))["ID"])

    # -- services ----------------------------------------------------------------------------------
    async def create(self, name: str, replicas: int = 1, *, host: str = "m1", **container: Any) -> str:
        spec = {
            "Name": name,
            "TaskTemplate": {
                "ContainerSpec": {"Image": DEMO_REFERENCE, "StopGracePeriod": 10**9, **container},
                "RestartPolicy": {"Condition": "any", "Delay": 0},
            },
            "Mode": {"Replicated": {"Replicas": replicas}},
        }
        return str((await self.post(host, "/services/create", spec))["ID"])

    async def scale(self, name: str, replicas: int, *, host: str = "m1") -> None:
        service = await self.get(host, f"/services/{name}")
        spec = service["Spec"] | {"Mode": {"Replicated": {"Replicas": replicas}}}
        await self.post(host, f"/services/{service['ID']}/update", spec, version=service["Version"]["Index"])

    async def tasks(self, name: str, *, host: str = "m1") -> list[dict[str, Any]]:
        found = await self.get(host, "/tasks", filters=filters(service=[name]))
        return list(found)

    async def running(self, name: str, *, host: str = "m1") -> list[dict[str, Any]]:
        return [
            t
            for t in await self.tasks(name, host=host)
            if t["Status"]["State"] == "running" and t["DesiredState"] == "running"
        ]

    async def until_running(self, name: str, count: int, *, host: str = "m1") -> list[dict[str, Any]]:
        async def enough() -> bool:
            tasks = await self.tasks(name, host=host)
            wanted = [t for t in tasks if t["DesiredState"] == "running"]
            return len(wanted) == count and all(t["Status"]["State"] == "running" for t in wanted)

        await self.until(enough, f"{count} running tasks of {name}")
        return await self.running(name, host=host)

    # -- nodes -------------------------------------------------------------------------------------
    async def nodes(self, host: str = "m1") -> dict[str, dict[str, Any]]:
        return {n["Description"]["Hostname"]: n for n in await self.get(host, "/nodes")}

    async def node_names(self, host: str = "m1") -> dict[str, str]:
        """Id to host name."""
        return {node["ID"]: name for name, node in (await self.nodes(host)).items()}

    async def leader(self, hosts: Sequence[str] = ("m1", "m2", "m3")) -> str:
        found: list[str] = []

        async def known() -> bool:
            for host in hosts:
                try:
                    nodes = await self.nodes(host)
                except (SwarmError, OSError):
                    continue
                found[:] = [n for n, node in nodes.items() if (node.get("ManagerStatus") or {}).get("Leader")]
                if found:
                    return True
            return False

        await self.until(known, "a leader")
        return found[0]

    async def until_ready(self, names: Sequence[str], host: str) -> None:
        states: dict[str, str] = {}

        async def ready() -> bool:
            nodes = await self.nodes(host)
            states.clear()
            states.update({name: nodes[name]["Status"]["State"] for name in names if name in nodes})
            return len(states) == len(names) and set(states.values()) == {"ready"}

        try:
            await self.until(ready, f"{', '.join(names)} ready")
        except Unavailable as error:
            raise Unavailable(f"{error}; {states}") from None

    async def repair(self, names: Sequence[str]) -> None:
        """Undo whatever the last test did: every host up and ready, all as at first, no services."""
        self.lab.resume(names)
        await self.lab.heal()
        down = [name for name in names if self.host(name).daemon_pid() is None]
        if down:
            await self.lab.restart(down)
        await self.until_ready(names, "m1")
        for service in await self.get("m1", "/services"):
            await self.delete("m1", f"/services/{service['ID']}")
        for node in (await self.nodes()).values():
            if node["Spec"]["Availability"] != "active":
                spec = node["Spec"] | {"Availability": "active"}
                await self.post("m1", f"/nodes/{node['ID']}/update", spec, version=node["Version"]["Index"])

        async def quiet() -> bool:
            return not await self.get("m1", "/tasks")

        await self.until(quiet, "no tasks left of earlier tests")
        for network in await self.get("m1", "/networks"):
            if network["Scope"] == "swarm" and not network["Ingress"]:
                await self.delete("m1", f"/networks/{network['Id']}")
