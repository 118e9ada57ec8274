"""A lab leaves nothing behind, whatever happened to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyswarmd.lab import processes
from pyswarmd.lab.demo import load_image
from pyswarmd.lab.lab import Lab, temporary_lab
from tests.e2e.swarm import Swarm

pytestmark = [pytest.mark.lab, pytest.mark.root]


def traces(lab: Lab) -> dict[str, list[str]]:
    """Everything on this machine that carries the lab's name."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    cgroups = [
        str(path)
        for root in processes.hierarchies()
        for path in root.iterdir()
        if path.is_dir() and path.name == lab.name
    ]
    commands = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if lab.name in command:
                commands.append(command)
    return {
        "namespaces": lab.network.namespaces(),
        "mounts": [line for line in mounts if lab.name in line],
        "cgroups": cgroups,
        "processes": commands,
        "files": [str(lab.base)] if lab.base.exists() else [],
    }


async def test_down_removes_every_trace_also_after_a_crash() -> None:
    from pyswarmd.lab.demo_image import build_demo_image

    async with temporary_lab(f"pst-{os.getpid()}-left", 1, 1) as lab:
        swarm = Swarm(lab)
        archive = build_demo_image()
        for host in lab.hosts():
            await load_image(host, archive)
        await swarm.create("web", 4)
        await swarm.until_running("web", 4)
        seen = traces(lab)
        assert all(seen.values()), seen
        await lab.kill(["m1", "w1"], daemon_only=True)  # supervisors and containers are orphans now
    assert traces(lab) == {"namespaces": [], "mounts": [], "cgroups": [], "processes": [], "files": []}
