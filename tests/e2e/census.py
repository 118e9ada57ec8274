"""Everything that a host of the lab holds, counted, so that what churn leaves behind has a name."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pyswarmd.lab.host import LabHost
from pyswarmd.lab.lab import Lab
from pyswarmd.lab.processes import pids_in
from swarmcore.process.children import communicate

Census = Mapping[str, int]

# Neighbours that the kernel has learned come and go by themselves: only what somebody wrote is counted.
_QUESTIONS = {
    "links": "ip -o link",
    "addresses": "ip -o address",
    "neighbours": "ip -o neigh show nud permanent",
    "fdb": "bridge fdb show | grep -w permanent",
    "rules": "ip -4 rule; ip -6 rule",
    "routes": "ip -4 route show table all; ip -6 route show table all",
}
_MARK = "=== "
_THREADS = "daemon threads"
# asyncio starts the threads of its pool one by one, when all others are at work: six on two processors.
_POOL = min(32, (os.cpu_count() or 1) + 4)


async def census(lab: Lab) -> dict[str, int]:
    """Counts by host and kind, and the managers' objects as each manager has them."""
    hosts = lab.hosts()
    found: Counter[str] = Counter()
    for host, counts in zip(hosts, await asyncio.gather(*map(_host, hosts)), strict=True):
        found.update({f"{host.name} {kind}": count for kind, count in counts.items()})
    for host in hosts:
        if host.name.startswith("m"):
            async with host.client() as client:
                for kind in ("services", "tasks", "networks", "configs", "secrets", "nodes"):
                    found[f"{host.name} store {kind}"] = len(await client.get(f"/{kind}"))
    return dict(found)


def differences(before: Census, after: Census) -> dict[str, tuple[int, int]]:
    """What is not as it was: kind to (before, after)."""
    found = {}
    for kind in sorted({*before, *after}):
        was, now = before.get(kind, 0), after.get(kind, 0)
        if was != now and not (kind.endswith(_THREADS) and now < was + _POOL):
            found[kind] = was, now
    return found


def resident(lab: Lab) -> dict[str, int]:
    """MiB of memory of each daemon; it may grow with use, and is no part of a census."""
    found = {}
    for host in lab.hosts():
        if (pid := host.daemon_pid()) is not None:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found[host.name] = pages * os.sysconf("SC_PAGE_SIZE") >> 20
    return found


async def _host(host: LabHost) -> Counter[str]:
    found: Counter[str] = Counter()
    folder = host.run_dir / "netns"
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    found["namespaces"] = len(names)
    found["processes"] = len(host.pids())
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found["mounts"] = sum(1 for line in mounts if f"{host.directory}/" in line)
    for name in ("run", "state"):
        found[f"entries of {name}"] = sum(1 for _ in _entries(host.directory / name))
    found["cgroups"] = sum(1 for _ in _groups(host))
    for pid in pids_in(f"{host.cgroup}/daemon"):
        found += _process(pid)
    # One after the other: the machine has two processors and other work.
    found += await _namespace(Path("/run/netns") / f"{host.lab}-{host.name}", "host")
    for name in names:
        found += await _namespace(folder / name, "overlay" if name.startswith("ov-") else "container")
    return found


def _entries(folder: Path) -> Iterator[str]:
    """Files and folders, without those of the manager's log, which grows and is cut as it likes."""
    for _path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in ("raft", "images", "netns")]
        yield from (*folders, *files)


def _groups(host: LabHost) -> Iterator[str]:
    for controller in Path("/sys/fs/cgroup").iterdir():
        for _, folders, _ in os.walk(controller / host.cgroup):
            yield from folders


def _process(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    process = Path(f"/proc/{pid}")
    found[_THREADS] = len(list((process / "task").iterdir()))
    for descriptor in (process / "fd").iterdir():
        try:
            kind = str(descriptor.readlink()).partition(":")[0]
        except FileNotFoundError:  # closed since the list was made
            continue
        found[f"daemon descriptors {'file' if kind.startswith('/') else kind}"] += 1
    return found


async def _namespace(path: Path, kind: str) -> Counter[str]:
    script = [f"echo '{_MARK}{name}'; {command}" for name, command in _QUESTIONS.items()]
    script.append(f"echo '{_MARK}nft'; nft -j list ruleset")
    process = await asyncio.create_subprocess_exec(
        *("nsenter", f"--net={path}", "--", "sh", "-c", "\n".join(script)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # a namespace may end while it is looked at
    )
    out, _ = await communicate(process)
    found: Counter[str] = Counter()
    for part in out.decode().split(_MARK)[1:]:
        name, _, text = part.partition("\n")
        if name == "nft":
            found.update({f"{kind} nft {thing}": count for thing, count in _ruleset(text).items()})
        else:
            found[f"{kind} {name}"] = len(text.splitlines())
    return found


def _ruleset(text: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in json.loads(text)["nftables"] if text.strip() else ():
        for thing, value in entry.items():
            found[thing] += 1
            found["values"] += _leaves(value)  # the elements of sets, maps and rules, however they are nested
    return found


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    if isinstance(value, list):
        return sum(map(_leaves, value))
    return 1
