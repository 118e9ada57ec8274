"""From a network plan and the endpoint tables to what a sandbox is made from: values in, a value out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec.structs import replace

from netoverlay.containers.sandboxes import Join, Resolving, SandboxSpec
from swarmcore.errors import Invalid
from swarmcore.model.endpoint import PortConfig
from swarmcore.model.network import OVERLAY
from swarmcore.model.overlay import NetworkTable, OverlayNetwork
from worker.networks.plan import NetworkPlan, PlannedEndpoint

Tables = Mapping[str, NetworkTable]
ChoosePort = Callable[[PortConfig], int]


def sandbox_spec(
    plan: NetworkPlan, container_id: str, tables: Tables, resolving: Resolving, choose_port: ChoosePort
) -> SandboxSpec:
    """The sandbox of a container all of whose networks are in `tables`. `choose_port` confirms or finds the number of
    each port."""
    joins: list[Join] = []
    ingress: tuple[str, ...] = ()
    open_networks = 0
    for endpoint in plan.endpoints:
        network = tables[endpoint.network_id].network
        if network.driver != OVERLAY:
            continue  # each host gives its own addresses
        if network.ingress:
            ingress = endpoint.addresses
            continue
        antispoof = plan.antispoof and network.antispoof
        joins.append(_join(endpoint, f"eth{len(joins)}", antispoof=antispoof))
        open_networks += not network.internal
    # As Docker: a container whose networks are all internal has no way out.
    gateway = not joins or open_networks > 0
    return SandboxSpec(
        id=container_id,
        task_id=plan.owner,
        joins=tuple(joins),
        ingress=ingress,
        gateway=gateway,
        host_ports=tuple(replace(port, published_port=choose_port(port)) for port in plan.ports),
        resolving=resolving if gateway else replace(resolving, from_host=()),
    )


def free_interface(spec: SandboxSpec) -> str:
    """The first of eth0, eth1, … that the sandbox does not have."""
    taken = {join.interface for join in spec.joins} | {join.interface for join in spec.host_joins}
    return next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)


def host_networks(plan: NetworkPlan, tables: Tables) -> list[OverlayNetwork]:
    """The networks among them that every host makes for itself (bridge, macvlan, ipvlan)."""
    networks = [tables[endpoint.network_id].network for endpoint in plan.endpoints]
    return [network for network in networks if network.driver != OVERLAY]


def _join(endpoint: PlannedEndpoint, interface: str, *, antispoof: bool) -> Join:
    if not endpoint.addresses:
        raise Invalid(f"the task has no address on network {endpoint.network_id}")
    return Join(
        network_id=endpoint.network_id,
        interface=interface,
        mac=endpoint.mac,
        addresses=endpoint.addresses,
        antispoof=antispoof,
    )
