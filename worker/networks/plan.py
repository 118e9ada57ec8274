"""What a container asks of this host's networking, and what it gets: values between both.

Whoever plans a container (of a task, of a request) says here on which networks it shall be. Nothing here tells which of
both it was.
"""

from __future__ import annotations

from msgspec import Struct

from netoverlay.containers.sandboxes import SandboxSpec
from swarmcore.model.container import DNSConfig
from swarmcore.model.endpoint import PortConfig


class PlannedEndpoint(Struct, frozen=True, kw_only=True):
    """One network of the swarm that the container shall join.

    `addresses` have prefix lengths, IPv4 first. They and `mac` count on overlays; other drivers give out their own.
    """

    network_id: str
    mac: str
    addresses: tuple[str, ...] = ()


class NetworkPlan(Struct, frozen=True, kw_only=True):
    """The networks of one container.

    `predefined` is `host`, `none` or `bridge` where one of them is asked for: with the first two nothing else counts.
    `owner` is an opaque label, by which checks find the container's namespace. `name` is what people call the
    container. `ports` are to be published on this host alone; a published port of 0 is chosen here. `antispoof`: only
    its own addresses may leave it, where the network says so too.
    """

    name: str
    owner: str = ""
    predefined: str = ""
    endpoints: tuple[PlannedEndpoint, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    antispoof: bool = True
    dns: DNSConfig | None = None

    @property
    def is_host(self) -> bool:
        """Whether the container shares the host's network."""
        return self.predefined == "host"


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
