"""A lab of several hosts on one machine: made, broken on purpose, and removed without a trace.

What exists is read from the machine (namespaces, cgroups, directories), never from a state file that
could be wrong after a crash. The tests use this same class.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from pyswarmd.config import PORT
from pyswarmd.lab import processes
from pyswarmd.lab.host import LabHost
from pyswarmd.lab.network import LabNetwork
from pyswarmd.lab.wires import Wires
from swarmcore.addresses import joined
from swarmcore.errors import FailedPrecondition, Invalid, NotFound, SwarmError, Unavailable
from swarmcore.text.patterns import Pattern

DEFAULT_NAME = "pyswarm-lab"
LAB_ROOT = Path("/var/lib/pyswarm-lab")
_HOST = Pattern(r"([mw])([1-9][0-9]?)", 3)
_NAME = Pattern(r"[a-z][a-z0-9-]{0,30}", 31)


class HostRow(Struct, frozen=True):
    """A line of `lab ls`."""

    name: str
    address: str
    daemon: str
    processes: int
    socket: str


class Lab:
    """Hosts m1..mN (managers) and w1..wN (workers) on one switch."""

    def __init__(self, name: str = DEFAULT_NAME, root: Path = LAB_ROOT, wires: Wires | None = None) -> None:
        """`wires` None: as they are, or the default ones."""
        if not _NAME.fullmatch(name):
            raise Invalid(f"invalid lab name {name!r}", "use lower-case letters, digits and '-'")
        if os.geteuid() != 0:
            raise FailedPrecondition("the lab needs root: it makes network namespaces", "run it as root")
        for tool in ("ip", "nsenter"):
            if shutil.which(tool) is None:
                raise FailedPrecondition(
                    f"the lab needs the command {tool!r}", "install iproute2 and util-linux"
                )
        self.name = name
        self.base = root / name
        self.network = LabNetwork(name, wires)

    # -- what is there -----------------------------------------------------------------------------
    def host(self, name: str) -> LabHost:
        match = _HOST.fullmatch(name)
        if match is None:
            raise NotFound(
                f"no lab host {name!r}", 'hosts are called m1, m2 … and w1, w2 …; see "pyswarm lab ls"'
            )
        number = int(match[2]) + (10 if match[1] == "m" else 100)
        return LabHost(self.name, name, self.network.address(number), self.network, self.base)

    def existing(self, name: str) -> LabHost:
        host = self.host(name)
        if not self.network.path(name).exists():
            raise NotFound(f"no lab host {name!r}", 'see "pyswarm lab ls"')
        return host

    def hosts(self) -> list[LabHost]:
        """The hosts that exist, managers first."""
        prefix = f"{self.name}-"
        names = [n.removeprefix(prefix) for n in self.network.namespaces()]
        known = sorted((n for n in names if _HOST.fullmatch(n)), key=lambda n: (n[0], int(n[1:])))
        return [self.host(n) for n in known]

    def rows(self) -> list[HostRow]:
        return [
            HostRow(
                h.name,
                h.address,
                f"pid {pid}" if (pid := h.daemon_pid()) else "down",
                len(h.pids()),
                str(h.socket),
            )
            for h in self.hosts()
        ]

    # -- up and down -------------------------------------------------------------------------------
    async def add_hosts(self, names: Iterable[str]) -> list[LabHost]:
        """Hosts with a running daemon that has not joined anything yet (existing ones are kept)."""
        await self.network.ensure_switch()
        hosts = [self.host(name) for name in names]
        for host in hosts:
            await self.network.ensure_host(host.name, host.address)
            if host.daemon_pid() is None:
                host.start()
        await asyncio.gather(*(host.wait_ready() for host in hosts))
        return hosts

    async def up(self, managers: int = 3, workers: int = 2) -> None:
        """Bring up a whole swarm; hosts that already run and belong to it are left alone."""
        if managers < 1 or managers > 9 or workers < 0 or workers > 99:
            raise Invalid("a lab has 1 to 9 managers and 0 to 99 workers")
        names = [f"m{n}" for n in range(1, managers + 1)] + [f"w{n}" for n in range(1, workers + 1)]
        hosts = await self.add_hosts(names)
        members = [h for h in hosts if await _in_swarm(h)]
        if not members:
            async with hosts[0].client() as client:
                await client.post(
                    "/swarm/init",
                    {
                        "ListenAddr": joined(hosts[0].advertised, PORT),
                        "AdvertiseAddr": hosts[0].advertised,
                    },
                )
            members = [hosts[0]]
        first = next((h for h in members if h.name.startswith("m")), None)
        if first is None:
            raise FailedPrecondition("this lab has no manager left", 'run "pyswarm lab down"')
        tokens = (await self._get(first, "/swarm"))["JoinTokens"]
        missing = [h for h in hosts if h not in members]
        for host in [h for h in missing if h.name.startswith("m")]:  # raft takes one new member at a time
            await self._join(host, first, tokens["Manager"])
        await asyncio.gather(
            *(self._join(h, first, tokens["Worker"]) for h in missing if h.name.startswith("w"))
        )
        await self.until(lambda: self._all_ready(first, names), f"{len(names)} ready nodes", 30)

    async def _join(self, host: LabHost, manager: LabHost, token: str) -> None:
        async with host.client() as client:
            await client.post(
                "/swarm/join",
                {
                    "ListenAddr": joined(host.advertised, PORT),
                    "AdvertiseAddr": host.advertised,
                    "RemoteAddrs": [joined(manager.advertised, PORT)],
                    "JoinToken": token,
                },
            )

    async def _get(self, host: LabHost, path: str) -> Any:
        async with host.client() as client:
            return await client.get(path)

    async def _all_ready(self, manager: LabHost, names: list[str]) -> bool:
        nodes = await self._get(manager, "/nodes")
        ready = {n["Description"]["Hostname"] for n in nodes if n["Status"]["State"] == "ready"}
        return ready >= set(names)

    async def until(self, check: Callable[[], Awaitable[bool]], what: str, seconds: float) -> None:
        """Wait for a condition that only the API can tell; errors on the way count as 'not yet'."""
        last: Exception | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        if await check():
                            return
                        last = None
                    except (SwarmError, OSError) as error:
                        last = error
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Unavailable(
                f"waited {seconds:.0f} s for {what} in vain" + (f": {last}" if last else "")
            ) from None

    async def down(self) -> None:
        """Remove every process, mount, cgroup, namespace and file of this lab; also after a crash."""
        names = {h.name for h in self.hosts()}
        if self.base.is_dir():
            names |= {p.name for p in self.base.iterdir() if _HOST.fullmatch(p.name)}
        await asyncio.gather(*(self.host(name).destroy() for name in names))
        await processes.kill_all(lambda: processes.pids_in(self.name))
        processes.unmount_below(self.base)
        await processes.remove_cgroups(self.name)
        await self.network.remove()
        shutil.rmtree(self.base, ignore_errors=True)

    # -- faults ------------------------------------------------------------------------------------
    async def kill(self, names: Iterable[str], *, daemon_only: bool = False) -> None:
        for host in [self.existing(n) for n in names]:
            await (host.kill_daemon() if daemon_only else host.power_off())

    def pause(self, names: Iterable[str]) -> None:
        for host in [self.existing(n) for n in names]:
            host.pause()

    def resume(self, names: Iterable[str]) -> None:
        for host in [self.existing(n) for n in names]:
            host.resume()

    async def partition(self, names: Iterable[str]) -> None:
        await self.network.partition([self.existing(n).name for n in names])

    async def heal(self, names: Iterable[str] = ()) -> None:
        """Undo `partition`, for all hosts when none is named."""
        wanted = [self.existing(n).name for n in names] or [h.name for h in self.hosts()]
        await self.network.heal(wanted)

    async def restart(self, names: Iterable[str]) -> None:
        """Stop the daemons in an orderly way if they run, and start them again."""
        hosts = [self.existing(n) for n in names]
        await asyncio.gather(*(h.stop_daemon() for h in hosts))
        for host in hosts:
            host.start()
        await asyncio.gather(*(h.wait_ready() for h in hosts))


async def _in_swarm(host: LabHost) -> bool:
    async with host.client() as client:
        info = await client.get("/info")
    return bool(info["Swarm"]["LocalNodeState"] != "inactive")


@asynccontextmanager
async def temporary_lab(
    name: str, managers: int = 3, workers: int = 2, wires: Wires | None = None
) -> AsyncIterator[Lab]:
    """A lab that is gone when the block ends, whatever happened in it."""
    lab = Lab(name, wires=wires)
    await lab.down()
    try:
        if managers:
            await lab.up(managers, workers)
        yield lab
    finally:
        await lab.down()


@asynccontextmanager
async def locked(lab: Lab) -> AsyncIterator[None]:
    """One `lab up`, `down` or `demo` of a lab at a time. The lock's file goes with the lab."""
    path = Path("/run") / f"{lab.name}.lock"
    while True:
        with path.open("w") as file:
            await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
            if not _is_still(path, file.fileno()):
                continue  # whoever held it took the lab down, and the file with it
            yield
            if not lab.base.exists():
                path.unlink(missing_ok=True)
            return


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
