"""What the runtime asks of the host's networking for each container; `Isolated` is the answer of a node without any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.task import Task
from worker.containers import etc_files


class ContainerNetwork(Struct, frozen=True, kw_only=True):
    """A container's network, made before the container.

    `path` is the namespace that the runtime shall enter: empty means a new one of its own with loopback only.
    `sandbox` None: there is nothing to give back. `address` is what the container's own name means in its hosts file.
    """

    resolv_conf: str
    path: str = ""
    host: bool = False
    address: str = "127.0.0.1"
    sandbox: SandboxSpec | None = None


class Networking(Protocol):
    """Every call may be repeated; `release` may come at any time, also for what was never made."""

    def is_host(self, task: Task) -> bool:
        """Whether the task shares the host's network."""
        ...

    async def attach(self, task: Task, container_id: str, hostname: str) -> ContainerNetwork:
        """Make the container's network. SwarmError with the reason if that is impossible."""
        ...

    async def adopt(self, sandboxes: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        """After a restart: these are all that are used (by container id), each with its container's pid or 0."""
        ...

    async def path(self, sandbox: SandboxSpec) -> str:
        """Where the namespace of `sandbox` is found now; made anew if the host lost it."""
        ...

    async def drain(self, sandbox: SandboxSpec, task: Task) -> None:
        """Let live connections end, for at most the service's drain time."""
        ...

    async def release(self, sandbox: SandboxSpec) -> None:
        """Leave nothing of it."""
        ...


class Isolated:
    """Containers with loopback only, or with the host's network: what works without any networking."""

    def __init__(self, host_resolv_conf: str) -> None:
        self._host_resolv_conf = host_resolv_conf

    def is_host(self, task: Task) -> bool:
        return any(network.target == "host" for network in task.spec.networks)

    async def attach(self, task: Task, container_id: str, hostname: str) -> ContainerNetwork:
        text = etc_files.resolv_conf(task.spec.container.dns_config, self._host_resolv_conf)
        return ContainerNetwork(resolv_conf=text, host=self.is_host(task))

    async def adopt(self, sandboxes: Mapping[str, tuple[SandboxSpec, int]]) -> None:
        """There are none."""

    async def path(self, sandbox: SandboxSpec) -> str:
        return ""

    async def drain(self, sandbox: SandboxSpec, task: Task) -> None:
        """Nobody can be connected."""

    async def release(self, sandbox: SandboxSpec) -> None:
        """There is nothing to give back."""


def published_by(sandbox: SandboxSpec | None) -> tuple[PortConfig, ...]:
    """The ports that this host publishes for the container, with the numbers chosen."""
    return sandbox.host_ports if sandbox is not None else ()
