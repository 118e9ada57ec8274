"""One lab host: its namespace, directories, cgroup and the daemon that lives in them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pyswarmd.client import EngineClient
from pyswarmd.lab import processes
from pyswarmd.lab.network import LabNetwork, ipv6_of
from swarmcore.errors import SwarmError, Unavailable


class LabHost:
    """A host is named `m1`, `w1` …; everything it owns carries the lab's and the host's name."""

    def __init__(self, lab: str, name: str, address: str, network: LabNetwork, base: Path) -> None:
        self.lab, self.name, self.address = lab, name, address
        self._network = network
        self.directory = base / name
        self.state_dir = self.directory / "state"
        self.run_dir = self.directory / "run"
        self.cgroup = f"{lab}/{name}"

    @property
    def socket(self) -> Path:
        return self.run_dir / "pyswarm.sock"

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def log_file(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def advertised(self) -> str:
        """Where other nodes of the swarm reach it."""
        return ipv6_of(self.address) if self._network.wires.ipv6 else self.address

    def client(self) -> EngineClient:
        return EngineClient(self.endpoint)

    # -- processes ---------------------------------------------------------------------------------
    def pids(self) -> set[int]:
        """Everything that runs on this host: daemon, supervisors, containers, `lab exec` commands."""
        return processes.pids_in(self.cgroup) | processes.pids_in_namespace(self._network.path(self.name))

    def daemon_pid(self) -> int | None:
        """The daemon's pid, None when it does not run."""
        try:
            pid = int((self.run_dir / "daemon.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return pid if pid in processes.pids_in(f"{self.cgroup}/daemon") else None

    def command(self, words: list[str]) -> list[str]:
        """`words` as run on this host: nsenter leaves the mounts alone (ip netns exec hides the cgroups)."""
        return ["nsenter", f"--net={self._network.path(self.name)}", "--", *words]

    def environment(self) -> dict[str, str]:
        venv = str(Path(sys.executable).parent)
        path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        return {
            **os.environ,
            "PYSWARM_HOST": self.endpoint,
            "DOCKER_HOST": self.endpoint,
            "PATH": f"{venv}:{path}",
            "PYSWARM_LAB_HOST": self.name,
        }

    def start(self) -> None:
        """Start the daemon in the background; it outlives this process."""
        for folder in (self.state_dir, self.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
        argv = self.command(
            [
                *(sys.executable, "-m", "pyswarmd", "daemon"),
                *("--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir)),
                *("--cgroup-parent", f"{self.cgroup}/containers", "--hostname", self.name),
            ]
        )
        environment = {k: v for k, v in self.environment().items() if not k.startswith(("COV_", "PYTEST_"))}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        with self.log_file.open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", *argv],  # its own session, reaped by init: it outlives this process
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=lambda: processes.enter(f"{self.cgroup}/daemon"),
                env=environment,
                cwd="/",
                check=True,
            )

    async def wait_ready(self, seconds: float = 20.0) -> None:
        """Return when the daemon answers on its socket."""
        try:
            async with asyncio.timeout(seconds):
                while not await self.answers():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            tail = self.log_file.read_text(errors="replace")[-2000:] if self.log_file.exists() else ""
            raise Unavailable(f"the daemon of {self.name} does not answer; its log ends:\n{tail}") from None

    async def answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            async with asyncio.timeout(5), self.client() as client:
                await client.get("/info")
        except (SwarmError, OSError, TimeoutError):
            return False
        return True

    # -- faults ------------------------------------------------------------------------------------
    async def kill_daemon(self) -> None:
        """kill -9 of the daemon alone; its containers go on."""
        await processes.kill_all(lambda: {pid} if (pid := self.daemon_pid()) else set())

    async def power_off(self) -> None:
        """Everything on this host dies at once, as at a power loss."""
        await processes.kill_all(self.pids)
        processes.unmount_below(self.directory)
        await processes.remove_cgroups(self.cgroup)
        if self._network.path(self.name).exists():
            await self._network.reboot(self.name, self.address)
        shutil.rmtree(self.run_dir, ignore_errors=True)  # a runtime directory does not survive a boot

    async def stop_daemon(self, seconds: float = 15.0) -> None:
        """SIGTERM, then SIGKILL when it takes too long."""
        if (pid := self.daemon_pid()) is None:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(seconds):
                while self.daemon_pid() is not None:
                    await asyncio.sleep(0.02)
        except TimeoutError:
            await self.kill_daemon()

    def pause(self) -> None:
        processes.send(self.pids(), signal.SIGSTOP)

    def resume(self) -> None:
        processes.send(self.pids(), signal.SIGCONT)

    async def destroy(self) -> None:
        await self.power_off()
        shutil.rmtree(self.directory, ignore_errors=True)
