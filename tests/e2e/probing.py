"""Looks at a lab from inside its hosts and containers: kernel state, names, answers, repairs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from swarmcore.errors import Unavailable
from swarmcore.process.children import communicate
from tests.e2e.places import at
from tests.e2e.swarm import Swarm

PORT = 8000
HOSTS = {"m1": 11, "m2": 12, "m3": 13, "w1": 101, "w2": 102}
WEB: dict[str, Any] = {"Protocol": "tcp", "TargetPort": PORT, "PublishedPort": 8080}
_REPAIRS = re.compile(r"^pyswarm_network_repairs_total\{.*\} ([0-9.e+]+)$", re.MULTILINE)


def mesh(*hosts: str) -> list[str]:
    return [f"http://{at(HOSTS[host])}:8080/" for host in hosts or HOSTS]


async def run(namespace: Path | str, *words: str, check: bool = True) -> str:
    """What a command prints when it is run in a network namespace."""
    process = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net={namespace}", "--", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await communicate(process)
    assert not check or process.returncode == 0, f"{' '.join(words)}: {err.decode(errors='replace')}"
    return out.decode(errors="replace")


async def on_host(swarm: Swarm, host: str, *words: str, check: bool = True) -> str:
    return await run(swarm.lab.network.path(host), *words, check=check)


async def links(namespace: Path | str) -> list[dict[str, Any]]:
    return list(json.loads(await run(namespace, "ip", "-j", "-d", "link", "show")))


def namespaces(swarm: Swarm, host: str) -> set[str]:
    """The names of all network namespaces that the host's daemon keeps."""
    folder = swarm.host(host).run_dir / "netns"
    return {entry.name for entry in folder.iterdir()} if folder.exists() else set()


def overlay(swarm: Swarm, host: str, network_id: str) -> Path:
    """The namespace that carries the network on the host."""
    return swarm.host(host).run_dir / "netns" / f"ov-{network_id[:12]}"


async def neighbours(namespace: Path | str) -> set[str]:
    """The IPv4 addresses of an overlay's containers on other hosts, as the kernel has them."""
    found = json.loads(await run(namespace, "ip", "-4", "-j", "neigh", "show", "nud", "permanent"))
    return {entry["dst"] for entry in found}


async def repairs(swarm: Swarm, host: str) -> float:
    async with swarm.host(host).client() as client, client.request("GET", "/metrics") as response:
        text = await response.text()
    counts = _REPAIRS.findall(text)
    assert counts, text
    return sum(float(count) for count in counts)


async def checked(swarm: Swarm, network: str) -> dict[str, Any]:
    """What `pyswarm network check` finds."""
    return dict(await swarm.post("m1", f"/networks/{network}/check"))


def address(task: dict[str, Any], network_id: str) -> str:
    """The task's IPv4 address on the network."""
    for attachment in task["NetworksAttachments"]:
        if attachment["Network"]["ID"] == network_id:
            return str(attachment["Addresses"][0].partition("/")[0])
    raise AssertionError(f"task {task['ID']} is not on {network_id}")


async def vips(swarm: Swarm, service: str) -> list[str]:
    """The service's virtual addresses on networks of its own, IPv4 first."""
    found = await swarm.get("m1", f"/services/{service}")
    ingress = (await swarm.get("m1", "/networks/ingress"))["Id"]
    entries = [entry for entry in found["Endpoint"]["VirtualIPs"] if entry["NetworkID"] != ingress]
    given = [entry["Addr"].partition("/")[0] for entry in entries]
    return sorted(given, key=lambda each: ":" in each)


async def lookup(swarm: Swarm, task: dict[str, Any], name: str) -> set[str]:
    """What a name means in the task's container: all its addresses, none where it has no such name."""
    _, text = await swarm.inside(task, "nslookup", name)
    lines = [line for line in text.splitlines() if line.startswith("Address")]
    return {line.split()[-1] for line in lines[1:]}


def agree(what: str, found: Any, expected: Any) -> None:
    """Unavailable, which `until` takes for "not yet" and tells in the end, where they differ."""
    if found != expected:
        raise Unavailable(f"{what}: {found} instead of {expected}")


async def works(swarm: Swarm, probe: dict[str, Any], name: str, tasks: Iterable[str]) -> bool:
    """Whether `name` and `tasks.name` resolve, and the virtual address answers from as many replicas, in `probe`.
    What does not is told by Unavailable."""
    own = set(tasks)
    virtual = await vips(swarm, name)
    agree(f"tasks.{name}", await lookup(swarm, probe, f"tasks.{name}"), own)
    agree(name, await lookup(swarm, probe, name), set(virtual))
    seen = await swarm.requests(
        swarm.namespace_of(probe), *(url(each) for each in virtual), count=12 * len(own)
    )
    agree(f"{name} from {len(seen.answers)} replicas, errors", seen.errors, {})
    agree(f"replicas of {name} that answer", len(seen.answers), len(own))
    return True


def url(host: str) -> str:
    return f"http://[{host}]:{PORT}/" if ":" in host else f"http://{host}:{PORT}/"


async def meshed(swarm: Swarm, replicas: int, *hosts: str) -> bool:
    """Whether each of the hosts answers from every replica. What does not is told by Unavailable."""
    outside = await swarm.outside()
    for each in mesh(*hosts):
        seen = await swarm.requests(outside, each, count=12 * replicas)
        agree(f"{each} from {len(seen.answers)} replicas, errors", seen.errors, {})
        agree(f"replicas that answer at {each}", len(seen.answers), replicas)
    return True


def on(host: str) -> dict[str, Any]:
    """A placement: nowhere but on this host."""
    return {"Constraints": [f"node.hostname=={host}"]}
