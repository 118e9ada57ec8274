"""The peer of bench.versus: dockerd's swarm on hosts of a lab, each in a network namespace and directory of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench.rawhttp import RawClient, Refused
from pyswarmd.lab.host import LabHost
from pyswarmd.lab.lab import Lab
from swarmcore.errors import Unavailable

_POLL = 0.05


class DockerHost:
    """One dockerd beside the lab's hosts; `socket` answers when `start` returns."""

    def __init__(self, host: LabHost, program: Path) -> None:
        self.host, self._program = host, program
        self.name, self.address = host.name, host.address
        self.socket = host.run_dir / "docker.sock"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        root = self.host.directory
        for folder in (root / "data", self.host.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
        words = [
            *(str(self._program), "--data-root", str(root / "data"), "--exec-root", str(root / "exec")),
            *("--pidfile", str(root / "docker.pid"), "--host", f"unix://{self.socket}"),
            *("--bridge=none", "--iptables=false", "--storage-driver=vfs"),
        ]
        # containerd lies beside the client in /usr/bin, or beside dockerd in a copy of its own.
        beside = self._program.parent.parent / "bin"
        environment = {**os.environ, "PATH": f"{beside}:{self._program.parent}:{os.environ['PATH']}"}
        with self.host.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.host.command(words), stdout=log, stderr=log, env=environment, start_new_session=True
            )
        for _ in range(600):
            try:
                async with RawClient(self.socket) as client:
                    await client.raw("GET", "/info")
                return
            except (OSError, Refused):
                await asyncio.sleep(_POLL)
        raise Unavailable(f"dockerd of {self.name} does not answer; see {self.host.log_file}")

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()


async def _join_all(hosts: list[DockerHost]) -> None:
    async with RawClient(hosts[0].socket) as client:
        tokens = (await client.call("GET", "/swarm"))["JoinTokens"]
    for other in hosts[1:]:
        async with RawClient(other.socket) as client:
            await client.raw(
                "POST",
                "/swarm/join",
                {
                    **listening(other.address),
                    "RemoteAddrs": [f"{hosts[0].address}:2377"],
                    "JoinToken": tokens["Manager"],
                },
            )


def listening(address: str) -> dict[str, str]:
    return {"ListenAddr": f"{address}:2377", "AdvertiseAddr": address}


@asynccontextmanager
async def dockerd_lab(name: str, managers: int, program: Path) -> AsyncIterator[list[DockerHost]]:
    """`managers` dockerds; a swarm of them when there are several, one daemon without a swarm otherwise."""
    lab = Lab(name)
    await lab.down()
    hosts = [DockerHost(lab.host(f"m{number}"), program) for number in range(1, managers + 1)]
    try:
        await lab.network.ensure_switch()
        for host in hosts:
            await lab.network.ensure_host(host.name, host.address)
            await host.start()
        if managers > 1:
            async with RawClient(hosts[0].socket) as client:
                await client.raw("POST", "/swarm/init", listening(hosts[0].address))
            await _join_all(hosts)
        yield hosts
    finally:
        for host in hosts:
            await host.stop()
        await lab.down()
        shutil.rmtree(lab.base, ignore_errors=True)
