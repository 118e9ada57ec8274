"""How many processors and how much memory this node has for tasks."""

from __future__ import annotations

import os
from pathlib import Path

from swarmcore.model.resources import Resources


def node_resources(meminfo: Path = Path("/proc/meminfo")) -> Resources:
    memory = 0
    for line in meminfo.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            memory = int(rest.split()[0]) * 1024
    return Resources(nano_cpus=len(os.sched_getaffinity(0)) * 10**9, memory_bytes=memory)
