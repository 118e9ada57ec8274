"""A host of an overlay network in a namespace of its own, whose daemon can be replaced."""

from __future__ import annotations

import subprocess
from pathlib import Path

from netoverlay.containers.sandboxes import Join, SandboxSpec
from netoverlay.host import HostNetwork
from netoverlay.netns import Namespace, Namespaces
from swarmcore.clock import RealClock
from swarmcore.model.endpoint import EndpointMode
from swarmcore.model.overlay import (
    NetworkTable,
    OverlayEndpoint,
    OverlayNetwork,
    OverlayNode,
    OverlayService,
    OverlaySubnet,
)

VTEP, VIP = "192.0.2.1", "10.5.0.2"


def network() -> OverlayNetwork:
    subnet = OverlaySubnet(subnet="10.5.0.0/24", gateway="10.5.0.1", vni=4100)
    return OverlayNetwork(id="n" * 25, name="shop", subnets=(subnet,))


def spec(number: int) -> SandboxSpec:
    join = Join(
        network_id="n" * 25,
        interface="eth0",
        mac=f"02:00:00:00:00:{number:02x}",
        addresses=(f"10.5.0.{number}/24",),
    )
    return SandboxSpec(id=f"{number:064x}"[::-1], task_id=f"t{number}", hostname=f"c{number}", joins=(join,))


def table(*active: int) -> NetworkTable:
    endpoints = {
        f"t{number}": OverlayEndpoint(
            id=f"t{number}",
            node_id="w1",
            name=f"web.{number}.t{number}",
            service_id="s1",
            addresses=(f"10.5.0.{number}",),
            mac=f"02:00:00:00:00:{number:02x}",
            active=True,
        )
        for number in active
    }
    service = OverlayService(id="s1", name="web", mode=EndpointMode.VIP, vips=(VIP,))
    return NetworkTable(
        network=network(),
        nodes={"w1": OverlayNode(id="w1", vtep=VTEP)},
        services={"s1": service},
        endpoints=endpoints,
    )


class World:
    """A host in a namespace of its own; its daemon can be replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._outer = Namespaces(folder / "outer")
        self.kernel = self._outer.create("host")
        self._ip("link", "add", "eth0", "type", "bridge")
        self._ip("address", "add", f"{VTEP}/24", "dev", "eth0")
        self._ip("link", "set", "eth0", "up")
        self.host = self._new()

    def _new(self) -> HostNetwork:
        return HostNetwork(self._folder / "netns", RealClock(), home=self._folder / "outer" / "host")

    def _ip(self, *words: str) -> None:
        self.kernel.run(lambda: subprocess.run(["ip", *words], check=True))

    def shown(self, where: Namespace, *words: str) -> str:
        return where.run(lambda: subprocess.run(words, check=True, capture_output=True, text=True)).stdout

    async def apply(self, *active: int) -> None:
        await self.host.follow({"n" * 25: table(*active)}, "w1", VTEP)

    async def restart(self, *sandboxes: SandboxSpec) -> None:
        """Another daemon; the kernel stays as it is."""
        await self.host.close()
        self.host = self._new()
        await self.host.open()
        await self.host.adopt({each.id: (each, 0) for each in sandboxes})

    def inside(self, sandbox: SandboxSpec) -> Namespace:
        found = self.host.namespace(sandbox.id)
        assert found is not None
        return found

    async def close(self) -> None:
        await self.host.forget()
        await self.host.close()
        self._outer.remove("host")
        self._outer.close()
