"""The lab's wires: a switch namespace with a bridge, and one namespace with an address per host.

All traffic stays inside these namespaces. Everything is found again by name, so that a lab can be
taken down after any crash. `ip` does the work: one batch per namespace.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyswarmd.lab.wires import DEFAULT, ROUTER, Wires, wires_of
from swarmcore.errors import FailedPrecondition, Internal
from swarmcore.process.children import communicate
from swarmcore.text.patterns import Pattern

NETNS_DIR = Path("/run/netns")
SUBNET6 = "fd77:"  # the host part is the last number of the IPv4 address
_HOST = Pattern(r"sw|[cmw][0-9]+", 16)  # what a lab's namespaces are called after its name
_MAIN, _CUT = "br0", "br1"  # a partitioned host's port moves to the second bridge


async def ip(*words: str, stdin: str = "", check: bool = True) -> str:
    """Run iproute2's `ip`; its own message becomes the error."""
    process = await asyncio.create_subprocess_exec(
        "ip",
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await communicate(process, stdin.encode())
    if check and process.returncode:
        raise Internal(f"ip {' '.join(words)} failed: {err.decode(errors='replace').strip()}")
    return out.decode()


async def _batch(namespace: str, lines: Iterable[str]) -> None:
    await ip("-n", namespace, "-batch", "-", stdin="\n".join(lines) + "\n")


def ipv6_of(address: str) -> str:
    return f"{SUBNET6}:{address.rpartition('.')[2]}"


class LabNetwork:
    """Namespaces `<lab>-<host>` on the bridge of `<lab>-sw`, whose alias says what `wires` were wished for."""

    def __init__(self, lab: str, wished: Wires | None = None) -> None:
        self._lab = lab
        self._switch = f"{lab}-sw"
        self._wished = wished
        self._wires: Wires | None = None

    @property
    def wires(self) -> Wires:
        """Those of the lab that is there, else those to come. Blocks for milliseconds the first time."""
        if self._wires is None:
            found = self._found()
            if found is None:
                return self._wished or DEFAULT
            if self._wished is not None and found != self._wished:
                raise FailedPrecondition(
                    f"this lab has other wires already: {found.text()}",
                    'take it down first: "pyswarm lab down"',
                )
            self._wires = found
        return self._wires

    def _found(self) -> Wires | None:
        if not (NETNS_DIR / self._switch).exists():
            return None
        words = ["ip", "-n", self._switch, "-json", "link", "show", "dev", _MAIN]
        shown = subprocess.run(words, capture_output=True, text=True, check=False)
        links = json.loads(shown.stdout or "[]")
        return wires_of(text) if links and (text := links[0].get("ifalias")) else None

    def address(self, number: int) -> str:
        return self.wires.address(number)

    def namespace(self, host: str) -> str:
        return f"{self._lab}-{host}"

    def path(self, host: str) -> Path:
        return NETNS_DIR / self.namespace(host)

    def namespaces(self) -> list[str]:
        """Every namespace of this lab that exists, the switch last."""
        if not NETNS_DIR.is_dir():
            return []
        # The whole name, not its beginning: another lab may be called <lab>-something.
        begin = f"{self._lab}-"
        names = [path.name for path in NETNS_DIR.iterdir()]
        found = sorted(n for n in names if n.startswith(begin) and _HOST.fullmatch(n.removeprefix(begin)))
        return sorted(found, key=lambda name: name == self._switch)

    async def ensure_switch(self) -> None:
        if (NETNS_DIR / self._switch).exists():
            return
        await ip("netns", "add", self._switch)
        await _batch(
            self._switch,
            [
                "link set lo up",
                f"link add {_MAIN} type bridge",
                f'link set {_MAIN} alias "{self.wires.text()}"',
                f"link set {_MAIN} up",
                f"link add {_CUT} type bridge",
                f"link set {_CUT} up",
            ],
        )

    async def ensure_host(self, host: str, address: str) -> None:
        if self.path(host).exists():
            return
        namespace = self.namespace(host)
        await ip("netns", "add", namespace)
        await _batch(
            namespace,
            [
                "link set lo up",
                f"link add eth0 type veth peer name {host} netns {self._switch}",
                f"address add {address}/{self.wires.prefix} dev eth0",
                f"address add {ipv6_of(address)}/64 dev eth0 nodad",
                "link set eth0 up",
                *self._routes(address),
            ],
        )
        await _batch(self._switch, [f"link set {host} master {_MAIN}", f"link set {host} up"])

    def _routes(self, address: str) -> Iterator[str]:
        router = self.address(ROUTER)
        for each in self.wires.routes if address != router else ():
            yield f"route add {each} via {ipv6_of(router) if ':' in each else router} dev eth0"

    async def reboot(self, host: str, address: str) -> None:
        """Nothing of what the host's kernel was told survives: a new namespace, on the same wire as before."""
        port = await ip("-n", self._switch, "-o", "link", "show", "dev", host)
        # Deleted first, because a namespace ends some time after its name.
        await ip("-n", self.namespace(host), "link", "delete", "eth0")
        await ip("netns", "delete", self.namespace(host))
        await self.ensure_host(host, address)
        if f"master {_CUT} " in port:
            await self.partition([host])

    async def partition(self, hosts: Iterable[str]) -> None:
        """Cut `hosts` off from all others; among themselves they still talk."""
        await _batch(self._switch, [f"link set {host} master {_CUT}" for host in hosts])

    async def heal(self, hosts: Iterable[str]) -> None:
        await _batch(self._switch, [f"link set {host} master {_MAIN}" for host in hosts])

    async def remove(self) -> None:
        for namespace in self.namespaces():
            await ip("netns", "delete", namespace, check=False)
        self._wires = None
