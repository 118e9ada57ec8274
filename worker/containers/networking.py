"""What containers ask of the host's networking; `Isolated` is the answer of a node without any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.model.endpoint import PortConfig
from worker.networks.plan import ContainerNetwork, NetworkPlan
from worker.networks.resolv_conf import resolv_conf


class Networking(Protocol):
    """Every call may be repeated; `release` may come at any time, also for what was never made."""

    async def make_network(self, plan: NetworkPlan, container_id: str, hostname: str) -> ContainerNetwork:
        """Make the container's network. SwarmError with the reason if that is impossible."""
        ...

    async def adopt(self, sandboxes: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        """After a restart: these are all that are used (by container id), each with its container's pid or 0."""
        ...

    async def path(self, sandbox: SandboxSpec) -> str:
        """Where the namespace of `sandbox` is found now; made anew if the host lost it."""
        ...

    async def drain(self, sandbox: SandboxSpec, seconds: float) -> None:
        """Let live connections end, for at most that long."""
        ...

    async def release(self, sandbox: SandboxSpec) -> None:
        """Leave nothing of it."""
        ...


class Isolated:
    """Containers with loopback only, or with the host's network: what works without any networking."""

    def __init__(self, host_resolv_conf: str) -> None:
        self._host_resolv_conf = host_resolv_conf

    async def make_network(self, plan: NetworkPlan, container_id: str, hostname: str) -> ContainerNetwork:
        return ContainerNetwork(resolv_conf=resolv_conf(plan.dns, self._host_resolv_conf), host=plan.is_host)

    async def adopt(self, sandboxes: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        """There are none."""

    async def path(self, sandbox: SandboxSpec) -> str:
        return ""

    async def drain(self, sandbox: SandboxSpec, seconds: float) -> None:
        """Nobody can be connected."""

    async def release(self, sandbox: SandboxSpec) -> None:
        """There is nothing to give back."""


def published_by(sandbox: SandboxSpec | None) -> tuple[PortConfig, ...]:
    """The ports that this host publishes for the container, with the numbers chosen."""
    return sandbox.host_ports if sandbox is not None else ()
