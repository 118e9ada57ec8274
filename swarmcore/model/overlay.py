"""The endpoint table of one network: what a worker must know to carry its traffic, names and balancing.

Managers derive it from networks, services, tasks and nodes; workers make their kernel agree with it. Nothing
in it is a wish: whatever is not in the table has no entry in any kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from msgspec import Struct, field

from swarmcore.model.endpoint import EndpointMode, PortConfig


class OverlaySubnet(Struct, frozen=True, kw_only=True, gc=False):
    """One subnet (CIDR) and its gateway (bare address). An IPv6 subnet shares the VNI of an IPv4 one."""

    subnet: str
    gateway: str
    vni: int


class OverlayNetwork(Struct, frozen=True, kw_only=True, gc=False):
    """`mtu` 0 means the underlay's less what VXLAN adds; `port` is the swarm's UDP data path port.

    `antispoof`: containers use only the MAC and the addresses that they were given.
    """

    id: str
    name: str
    subnets: tuple[OverlaySubnet, ...] = ()
    driver: str = "overlay"
    options: dict[str, str] = field(default_factory=dict)
    config_from: str = ""  # of a local driver: the network of each host that holds its settings
    mtu: int = 0
    port: int = 4789
    internal: bool = False
    ingress: bool = False
    encrypted: bool = False
    antispoof: bool = True


class OverlayNode(Struct, frozen=True, kw_only=True, gc=False):
    """A host that carries the network. `vtep` is its data path address.

    On the ingress network every node is listed, `addresses` are its own there and `number` (1 to 65534) is the
    place of the first of them in its subnet: return traffic is marked with it. `host_addresses` are all that the
    host itself sends from, there as well.
    """

    id: str
    vtep: str
    addresses: tuple[str, ...] = ()
    number: int = 0
    host_addresses: tuple[str, ...] = ()


class OverlayEndpoint(Struct, frozen=True, kw_only=True, gc=False):
    """One container (id = task id) on the network. Addresses are bare, IPv4 first.

    Every endpoint is a peer (neighbour and forwarding entry). Only an `active` one has names and gets new
    connections; one that drains is not active, but its live connections go on.
    """

    id: str
    node_id: str
    name: str
    service_id: str = ""
    aliases: tuple[str, ...] = ()  # of this container alone: host name, short container id, its own aliases
    addresses: tuple[str, ...] = ()
    mac: str = ""
    active: bool = False


class OverlayService(Struct, frozen=True, kw_only=True, gc=False):
    """A service on the network: its names resolve to `vips` (bare; mode vip), or to its active endpoints (dnsrr).

    `aliases` are further names of the service. `ports` are what it publishes, with the published ports chosen.
    `local_only`: published ports lead only to replicas of the node that was asked (label pyswarm.ingress=local).
    """

    id: str
    name: str
    aliases: tuple[str, ...] = ()
    mode: EndpointMode = EndpointMode.VIP
    vips: tuple[str, ...] = ()
    ports: tuple[PortConfig, ...] = ()
    local_only: bool = False


class NetworkTable(Struct, frozen=True, kw_only=True, gc=False):
    """Everything of one network, by id. `revision` is the index of the log that it reflects."""

    network: OverlayNetwork
    revision: int = 0
    nodes: Mapping[str, OverlayNode] = {}
    services: Mapping[str, OverlayService] = {}
    endpoints: Mapping[str, OverlayEndpoint] = {}

    def active(self, service_id: str) -> tuple[OverlayEndpoint, ...]:
        """The endpoints that new connections to the service may go to, in a stable order."""
        return tuple(
            sorted(
                (e for e in self.endpoints.values() if e.service_id == service_id and e.active),
                key=lambda e: e.id,
            )
        )


def endpoint_mac(task_id: str, network_id: str) -> str:
    """The hardware address of a task on a network: locally administered, and another for every task.

    Docker makes it of the IP address, so that a reused address brings back entries of the dead (moby#32195).
    """
    digest = blake2b(f"{task_id}/{network_id}".encode(), digest_size=5).digest()
    return "02:" + ":".join(f"{byte:02x}" for byte in digest)
